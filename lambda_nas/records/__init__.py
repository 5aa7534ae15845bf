"""The values that rooms exchange: studies, runs, trials, fronts."""
