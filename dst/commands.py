"""What messages tell users to type: ``launch`` and ``analysis`` are beside ``dst`` in a checkout, installed in it."""

from __future__ import annotations

from pathlib import Path

_WITHIN = "dst." if (Path(__file__).parent / "launch").is_dir() else ""

LAUNCH = f"python -m {_WITHIN}launch"
ANALYSIS = f"python -m {_WITHIN}analysis"
