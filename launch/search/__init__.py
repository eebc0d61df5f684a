"""Hyper-parameter searches with Optuna over the worker of sweeps (``python -m launch search``)."""
