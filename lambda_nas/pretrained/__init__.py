"""Trained models: loading, adopting and rebuilding them, and our timm entry points."""
