"""What the commands are called: ``launch`` and ``analysis`` are beside ``dst`` in a checkout, within it in a wheel."""

from __future__ import annotations

import importlib
from pathlib import Path

_WITHIN = "dst." if (Path(__file__).parent / "launch").is_dir() else ""

LAUNCH = f"python -m {_WITHIN}launch"
ANALYSIS = f"python -m {_WITHIN}analysis"


def launch() -> None:
    """The console script ``dst-launch``."""
    importlib.import_module(f"{_WITHIN}launch.cli").main()


def analysis() -> None:
    """The console script ``dst-analysis``."""
    importlib.import_module(f"{_WITHIN}analysis.cli").main()
