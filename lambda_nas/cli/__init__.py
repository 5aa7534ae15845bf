"""The command line: one file a verb. See the design's part 7: scripts depend on it."""

from lambda_nas.cli.app import main

__all__ = ["main"]
