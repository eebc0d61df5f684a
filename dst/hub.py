"""What is loaded from Hugging Face's hub, or torch's: the one line where it is neither cached nor to be downloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dst.errors import PlaceError, UserError


def from_hub(key: str, name: str, load: Callable[..., Any]) -> Any:
    """Returns what ``load`` does: from the cache without asking the hub, or from the hub.

    Args:
        key: of the config, named in the error.
        name: of a repository of the hub, or a folder.
        load: called with ``local_files_only=True``, and with False if that fails.

    Raises:
        PlaceError: if it is neither a folder nor in the cache, and cannot be downloaded.
        UserError: if it is a folder without what is needed.
    """
    try:
        return load(local_files_only=True)
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            raise UserError(f"{key}={name}: this folder lacks files of it ({_first_line(error)})") from error
    with missing_told(f"{key}={name}"):
        return load(local_files_only=False)


@contextlib.contextmanager
def missing_told(what: str, variable: str = "HF_HOME", cache: str | None = None) -> Iterator[None]:
    """Converts any error of a download within the block to a :class:`~dst.errors.PlaceError` of one line.

    Args:
        what: is downloaded, for the beginning of the line.
        variable: of the environment, which says where the cache is.
        cache: the folder; None: that of Hugging Face.
    """
    try:
        yield
    except Exception as error:  # of the network, the hub, the disk or the files' contents
        if cache is None:
            from huggingface_hub import constants

            cache = constants.HF_HOME
        raise PlaceError(
            f"{what}: is neither a folder nor in the cache {cache}, and could not be downloaded "
            f"({_first_line(error)}); download it where there is a network, and set {variable} to a cache that has it"
        ) from error


def missing_library(extra: str, error: ImportError) -> UserError:
    """Returns the error for a library that is not installed.

    Args:
        extra: of this package, which installs it.
        error: of its import.
    """
    return UserError(
        f"{error.name or error}: is not installed; install it with: pip install 'fantastic-weights[{extra}]'"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
