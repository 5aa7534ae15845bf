"""What to try next: the Optuna sampler, its surrogate, early stopping. Knows nothing of Ray."""
