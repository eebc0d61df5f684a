"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ``ok``; ``note``: works, but should be known; ``wrong``: keeps runs from being trained.
        text: what was found, and which setting to change or what to install.
    """

    level: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<5}  {self.text}"
