"""The prior: what each attention branch is worth before any trial."""
