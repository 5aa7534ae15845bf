"""Token merging (ToMe): blocks that merge similar tokens."""
