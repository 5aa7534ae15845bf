"""The study store: our tables beside Optuna's, in the same database."""
