"""The command line, one file per command. See the design's part 7: scripts depend on it.

Command modules import nothing heavy before they are called: ``--help`` reads them all.
"""

from lambda_nas.cli.app import main

__all__ = ["main"]
