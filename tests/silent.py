"""Whoever waits for a search and says nothing."""

from contextlib import contextmanager


class Silent:
    """Keeps what failed, for a test to look at."""

    def __init__(self):
        self.failures = []

    @contextmanager
    def stage(self, label, total):
        yield lambda: None

    def trials(self, counts, front):
        pass

    def failed(self, architecture, reason):
        self.failures.append((architecture, reason))
