"""The method: pure functions of models and tensors. Needs torch, timm and numpy only."""
