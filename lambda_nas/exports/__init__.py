"""Writes pruned networks for those who will use them."""
