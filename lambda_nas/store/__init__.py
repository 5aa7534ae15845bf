"""The study store: our tables beside Optuna's, in the same database."""

DEFAULT_STORAGE = "sqlite:///studies/lambda_nas.db"
"""Where studies are kept without a say, below the working directory."""
