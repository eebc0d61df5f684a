"""What Hugging Face's libraries load, from their cache or the hub; the one line where that fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dst.errors import PlaceError, UserError


def from_hub(key: str, name: str, load: Callable[..., Any]) -> Any:
    """Returns what ``load`` does.

    Args:
        key: of the config, named in the error.
        name: of a repository of the hub, or a folder.
        load: called with ``local_files_only=True``, and without if that fails.

    Raises:
        PlaceError: if it is neither a folder nor in the cache, and the hub cannot be reached.
        UserError: if it is a folder without what is needed.
    """
    try:
        return load(local_files_only=True)
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            raise UserError(f"{key}={name}: this folder lacks files of it ({_first_line(error)})") from error
    try:
        return load()
    except Exception as error:  # of the network, the hub or the files
        cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
        raise PlaceError(
            f"{key}={name}: is neither a folder nor in the cache {cache}, and could not be downloaded "
            f"({_first_line(error)}); download it where there is a network, and set HF_HOME to a cache that has it"
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
