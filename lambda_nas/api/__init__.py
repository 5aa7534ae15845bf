"""One function per task."""
