"""Lets ``python -m lambda_nas`` do what ``lambda-nas`` does."""

from lambda_nas.cli import main

main()
