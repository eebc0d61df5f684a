"""Finds raw data on disk; the error when they are missing; timeouts of downloads."""

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

_TIMEOUT_S = 10.0
_REASON_LENGTH = 300
"""Characters of a reason in a message."""


def raw_root(cfg: DatasetConfig, data_dir: Path) -> Path:
    """Returns the absolute folder to search for raw data.

    Args:
        cfg: ``root`` is that folder; None: ``data_dir``.
        data_dir: folder of all datasets.

    Raises:
        PlaceError: when ``dataset.root`` is not a folder.
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
    """Returns the first of ``places`` that contains all ``folders``.

    Args:
        cfg: named in the error.
        places: folders to search.
        folders: names of subfolders.

    Raises:
        PlaceError: when no place contains them.
    """
    for place in places:
        if all((place / folder).is_dir() for folder in folders):
            return place
    searched = " or ".join(str(place) for place in places)
    raise missing_data_error(
        cfg, searched, f"put {' and '.join(f'{folder}/<class>/<image>' for folder in folders)} there"
    )


def missing_data_error(
    cfg: DatasetConfig, searched: Path | str, obtain: str, reasons: Iterable[str] = ()
) -> PlaceError:
    """Returns the error for data that are missing or damaged and cannot be downloaded.

    Args:
        cfg: named in the error.
        searched: where the data should be.
        obtain: how the user gets them there.
        reasons: what is wrong with the files or failed during the download; empty strings are left out.
    """
    details = "; ".join(reason[:_REASON_LENGTH] for reason in reasons if reason)
    return PlaceError(
        f"dataset={cfg.name}: nothing usable at {searched}{f' ({details})' if details else ''}; {obtain}, "
        "or set data_dir=… or dataset.root=… to where the data are; dataset=digits needs neither"
    )


@contextlib.contextmanager
def short_download_timeout() -> Iterator[None]:
    """Sets a short default socket timeout and discards stdout, to which libraries print their progress."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
