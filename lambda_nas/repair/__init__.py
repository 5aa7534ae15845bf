"""Closed-form repair of a model after attention is removed, without gradients or labels."""
