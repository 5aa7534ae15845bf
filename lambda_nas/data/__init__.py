"""Image folders: listing, splitting and decoding."""
