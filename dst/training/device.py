"""Device, precision and determinism."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler

from dst import ranks
from dst.errors import PlaceError, UserError

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def prepare_device(name: str, precision: str, *, deterministic: bool) -> torch.device:
    """Returns a device after setting this process up to compute on it.

    Args:
        name: see :func:`choose_device`.
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        deterministic: whether equal runs must give equal bits.

    Raises:
        UserError: for an invalid name, or a precision that the device does not support.
        PlaceError: see :func:`choose_device`.
    """
    device = choose_device(_of_this_process(name))
    check_precision(device, precision)
    set_numerics(precision, deterministic)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # or torch would begin to use the first one too
        torch.cuda.reset_peak_memory_stats(device)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _of_this_process(name: str) -> str:
    """Returns the GPU of this process where several processes on a machine train one run."""
    ours = ranks.size() > 1 and torch.cuda.is_available() and name in ("auto", "cuda")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if ours else name


def choose_device(name: str) -> torch.device:
    """Returns the device ``name``, a GPU with its index; ``auto`` is cuda if there is one, then mps, then cpu.

    Raises:
        UserError: for an invalid name.
        PlaceError: for a device that is not there, or a GPU that the installed torch has no kernels for.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device={name}: choose auto, cpu, mps, cuda or cuda:N") from error
    if device.type == "cuda":
        _check_cuda(device)
        if device.index is None:  # without one torch.cuda.set_device raises
            device = torch.device("cuda", torch.cuda.current_device())
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise PlaceError("device=mps: torch finds no Apple GPU here; choose auto or cpu")
    elif device.type not in ("cpu", "mps") or device.index:
        raise UserError(f"device={name}: choose auto, cpu, mps, cuda or cuda:N")
    return device


def _check_cuda(device: torch.device) -> None:
    count = torch.cuda.device_count()
    if not count:
        raise PlaceError(f"device={device}: torch {torch.__version__} finds no GPU here; choose auto or cpu")
    if (device.index or 0) >= count:
        raise PlaceError(f"device={device}: there are {count} GPUs, cuda:0 to cuda:{count - 1}")
    major, minor = torch.cuda.get_device_capability(device)
    architectures = [arch.split("_") for arch in torch.cuda.get_arch_list()]
    usable = any(
        int(number.rstrip("af")) // 10 == major and int(number.rstrip("af")) % 10 <= minor
        if kind == "sm"
        else int(number.rstrip("af")) <= 10 * major + minor
        for kind, number in architectures
    )
    if architectures and not usable:
        raise PlaceError(
            f"device={device}: torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(device)} "
            f"(sm_{major}{minor}); install with -c constraints-v100.txt"
        )


def check_precision(device: torch.device, precision: str) -> None:
    """Checks that the device supports a precision in hardware.

    Args:
        device: any.
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.

    Raises:
        UserError: if it does not.
    """
    if device.type == "cuda" and precision in ("tf32", "bf16") and torch.cuda.get_device_capability(device) < (8, 0):
        raise UserError(f"precision={precision}: {torch.cuda.get_device_name(device)} has none; choose fp32 or fp16")


def device_name(device: torch.device) -> str:
    """Returns what the summary calls the device, such as ``NVIDIA A100-SXM4-40GB``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


def peak_memory_mb(device: torch.device) -> float | None:
    """Returns the most memory that tensors had on a GPU so far, in MiB; None on other devices."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


def gpu_memory_mb(device: torch.device) -> float | None:
    """Returns the memory of a GPU, in MiB; None on other devices."""
    return torch.cuda.get_device_properties(device).total_memory / 2**20 if device.type == "cuda" else None


def set_numerics(precision: str, deterministic: bool) -> None:
    """Sets torch's global flags for precision and determinism.

    Args:
        precision: only ``tf32`` allows TF32.
        deterministic: requires deterministic algorithms; torch warns where there is none.
    """
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def place(model: nn.Module, device: torch.device, precision: str) -> nn.Module:
    """Moves a model to the device; its convolutions to channels-last where that is faster: CPUs and tensor cores.

    Args:
        model: moved in place.
        device: to compute on.
        precision: ``fp32`` uses no tensor cores.

    Returns:
        The model.
    """
    fast = device.type == "cpu" or (device.type == "cuda" and precision != "fp32")
    planar = all(parameter.dim() < 5 for parameter in model.parameters())  # channels-last is for images, not volumes
    model = model.to(device)
    return model.to(memory_format=torch.channels_last) if fast and planar else model


def keep_freed_memory() -> None:
    """Keeps freed CPU memory in the process, which avoids page faults; does nothing where there is no glibc."""
    # the numbers are M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 2**31 - 1)
        mallopt(-3, 32 * 2**20)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Returns the context of a forward pass: ``torch.autocast`` for ``bf16`` and ``fp16``, a null context otherwise.

    Args:
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        device: to compute on.
    """
    if precision in _HALF:
        return torch.autocast(device.type, dtype=_HALF[precision])
    return contextlib.nullcontext()


def make_scaler(precision: str, device: torch.device, state: dict[str, Any] | None = None) -> GradScaler:
    """Returns a loss scaler; disabled unless ``precision`` is ``fp16``.

    Args:
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        device: to compute on.
        state: from ``GradScaler.state_dict()`` to continue from.
    """
    scaler = GradScaler(device.type, enabled=precision == "fp16")
    if state is not None:
        scaler.load_state_dict(state)
    return scaler
