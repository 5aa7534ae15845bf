"""Pruned networks as timm folders, ONNX files and ``torch.export`` programs, with model cards."""
