"""From runs to answers: tables, statistics, figures, a report (``python -m analysis help``)."""

from analysis.collect import load_runs

__all__ = ["load_runs"]
