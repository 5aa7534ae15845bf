"""The values that packages exchange: studies, runs, trials and fronts."""
