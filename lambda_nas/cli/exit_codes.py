"""Exit codes besides those of errors: 1 for a failure, 2 for bad input."""

INTERRUPTED = 130
"""As shells report a program that Ctrl-C ended."""
