"""Chooses removal sets and schedules their trials: Optuna proposes, Ray runs, core computes."""
