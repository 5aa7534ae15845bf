"""The study store: our tables beside Optuna's, in the same database."""

DEFAULT_STORAGE = "sqlite:///studies/lambda_nas.db"
"""The default study database, below the working directory."""
