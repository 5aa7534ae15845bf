"""Running trials: Ray Tune, workers, heartbeats, requeueing."""
