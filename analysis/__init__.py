"""Tables, statistics, figures and a report of finished runs (``python -m analysis help``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collect import load_phases, load_probes, load_runs

__all__ = ["load_phases", "load_probes", "load_runs"]


def __getattr__(name: str) -> Any:
    """Imports lazily, so that ``python -m analysis`` can name a missing library."""
    if name in __all__:
        from . import collect

        return getattr(collect, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
