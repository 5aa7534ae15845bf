"""Image sources, splits and decoding."""
