"""Dynamic sparse training: one run."""

__version__ = "0.1.0"
