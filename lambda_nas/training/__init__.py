"""Dilution, distillation, the training loop, evaluation and folding."""
