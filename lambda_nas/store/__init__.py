"""The study store: our tables beside Optuna's, in the same database."""

DEFAULT_STORAGE = "sqlite:///studies/lambda_nas.db"
"""The default study database, below the working directory."""

VARIABLE = "LAMBDA_NAS_STORAGE"
"""Environment variable with the URL of another one, which keeps a password out of ``ps``."""
