"""Closed-form repair of a network without some attention branches: no gradients, no labels."""
