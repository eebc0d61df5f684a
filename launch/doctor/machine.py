"""Python, torch and the GPUs of this machine."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata

import torch

from .finding import Finding


def check_machine() -> Iterator[Finding]:
    """Checks that this torch has kernels for the GPUs here, and says which optional packages are missing."""
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    yield Finding("ok", f"Python {platform.python_version()}, torch {torch.__version__} {built}")
    yield from _gpus()
    missing: dict[str, list[str]] = {}
    for requirement in metadata.requires("fantastic-weights") or ():
        name, extra = re.match(r"[\w-]+", requirement), re.search(r"extra == '([\w-]+)'", requirement)
        if name and extra and extra[1] != "dev" and not _installed(name[0]):
            missing.setdefault(extra[1], []).append(name[0])
    for group, names in missing.items():
        yield Finding("note", f"{', '.join(names)}: not installed; pip install 'fantastic-weights[{group}]'")


def _gpus() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no driver, or no GPU visible"
        yield Finding("note", f"no GPU here ({why}): device=cpu trains here; jobs on nodes with GPUs are not affected")
        return
    architectures = torch.cuda.get_arch_list()
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        line = f"GPU {index}: {torch.cuda.get_device_name(index)}, {memory:.0f} GiB, sm_{major}{minor}"
        if runs_on((major, minor), architectures):
            yield Finding("ok", line)
        else:
            advice = "make an environment with constraints-v100.txt and name its Python as cluster.python"
            yield Finding("wrong", f"{line}: this torch has kernels for {', '.join(architectures)} only; {advice}")


def runs_on(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Returns whether kernels exist for a GPU: those of its major version up to its minor one, or PTX of an older one.

    Args:
        capability: of the GPU, major and minor.
        architectures: as ``torch.cuda.get_arch_list`` has them, such as ``sm_80`` and ``compute_90``.
    """
    for architecture in architectures:
        kind, _, number = architecture.partition("_")
        digits = re.match(r"\d+", number)
        built = divmod(int(digits[0]), 10) if digits else (99, 0)
        if (kind == "sm" and built[0] == capability[0] and built <= capability) or (
            kind == "compute" and built <= capability
        ):
            return True
    return False


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
