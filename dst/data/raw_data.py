"""Raw data: where to look for them, and what to say when they are not there."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dst.errors import PlaceError

if TYPE_CHECKING:
    from dst.config import DatasetConfig

_PATIENCE_S = 10.0
_TOLD = 300
"""Characters of a reason."""


def raw_root(cfg: DatasetConfig, data_dir: Path) -> Path:
    """Returns the absolute folder in which the raw data are looked for: ``dataset.root``, else ``data_dir``.

    Raises:
        PlaceError: when ``dataset.root`` is no folder.
    """
    if cfg.root is None:
        return data_dir.absolute()
    root = Path(cfg.root).expanduser().resolve()
    if not root.is_dir():
        raise PlaceError(
            f"dataset.root={cfg.root}: there is no such folder; leave it out to look in data_dir={data_dir}"
        )
    return root


def find_tree(cfg: DatasetConfig, places: list[Path], *folders: str) -> Path:
    """Returns the first of ``places`` that holds all ``folders``; raises PlaceError when none does."""
    for place in places:
        if all((place / folder).is_dir() for folder in folders):
            return place
    looked = " or ".join(str(place) for place in places)
    raise missing(cfg, looked, f"put {' and '.join(f'{folder}/<class>/<image>' for folder in folders)} there")


def missing(cfg: DatasetConfig, looked: Path | str, obtain: str, reasons: Iterable[str] = ()) -> PlaceError:
    """Returns the error for data that are missing or damaged and cannot be downloaded.

    Args:
        looked: where the data should be.
        obtain: how the user gets them there.
        reasons: what is wrong with the files, why they cannot be downloaded; empty ones don't count.
    """
    told = "; ".join(reason[:_TOLD] for reason in reasons if reason)
    return PlaceError(
        f"dataset={cfg.name}: nothing usable at {looked}{f' ({told})' if told else ''}; {obtain}, or set data_dir=… or "
        "dataset.root=… to where the data are; dataset=digits needs neither"
    )


@contextlib.contextmanager
def impatient_network() -> Iterator[None]:
    """Lets a download that gets no answer fail in seconds, and keeps what libraries print about it off the terminal."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
