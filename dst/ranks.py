"""The processes that train one run together, each on its share of every batch; a process alone is the first of one.

``python -m torch.distributed.run --nproc-per-node=4 -m dst.train …`` starts them. Who is who, is known to torch's
default process group alone, so that nothing else has to be told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dst.errors import PlaceError

T = TypeVar("T")
_STEPS_BETWEEN_QUESTIONS = 20


class Lost(PlaceError):
    """The other processes of the run cannot be reached: one ended, or does not answer."""


def join() -> None:
    """Joins the processes that were started with this one, if there are any and it has not yet.

    Raises:
        Lost: if they cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    _join()


def host(size: int) -> tuple[Any, int]:
    """Opens the store on this machine at which ``size`` processes meet; returns it and its port, which was free."""
    store = dist.TCPStore("127.0.0.1", 0, size, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    return store, store.port


def join_first(store: Any, size: int) -> None:
    """Joins the processes that meet at the store, as the first of them.

    Args:
        store: from :func:`host`.
        size: number of processes.

    Raises:
        Lost: if they cannot be reached.
    """
    _join(store=store, rank=0, world_size=size)


def join_host(host: str, port: int, rank: int, local_rank: int, size: int) -> None:
    """Joins the processes that meet at the store of the first one.

    Args:
        host: of the store.
        port: of the store.
        rank: number of this process, from 1.
        local_rank: its number among those of this machine, and that of its GPU.
        size: number of processes.

    Raises:
        Lost: if they cannot be reached.
    """
    os.environ["LOCAL_RANK"] = str(local_rank)
    store = dist.TCPStore(host, port, size, is_master=False)  # type: ignore[attr-defined]
    _join(store=store, rank=rank, world_size=size)


def leave() -> None:
    """Leaves the other processes; this one is alone then."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _join(**meeting: Any) -> None:
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", **meeting)
    except (RuntimeError, ValueError) as error:
        raise Lost(f"cannot join the other processes of this run ({_first_line(error)})") from error


def rank() -> int:
    """Returns the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Returns the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(batch: T) -> T:
    """Returns this process's part of a batch: every :func:`size`-th sample, from the :func:`rank`-th on."""
    return batch[rank() :: size()] if size() > 1 else batch  # type: ignore[index]


def from_first(compute: Callable[[], T]) -> T:
    """Computes in the first process and returns the result in all of them; what it raises ends them all."""
    if size() == 1:
        return compute()
    told: list[Any] = [None, None]
    failure = None
    if rank() == 0:
        try:
            told[0] = compute()
        except Exception as error:
            failure, told[1] = error, str(error)
    _waiting(partial(dist.broadcast_object_list, told, device=torch.device("cpu")))
    if failure:
        raise failure
    if told[1] is not None:
        raise SystemExit(1)  # the first process tells why
    found: T = told[0]
    return found


def of_all(value: T) -> list[T]:
    """Returns the values of all processes, in the order of their ranks."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    _waiting(partial(dist.all_gather_object, found, value))
    return found


def add_up(tensors: Iterable[Tensor]) -> None:
    """Adds the tensors of all processes, in place."""
    if size() > 1:
        for tensor in tensors:
            _waiting(partial(dist.all_reduce, tensor))


def copy_first(tensors: Iterable[Tensor]) -> None:
    """Overwrites the tensors with those of the first process."""
    if size() > 1:
        for tensor in tensors:
            _waiting(partial(dist.broadcast, tensor, 0))


def any_of(question: Callable[[], bool]) -> Callable[[], bool]:
    """Returns a question that is true in all processes once it is in one, and is put at every twentieth call.

    Args:
        question: asked by all processes equally often.
    """
    if size() == 1:
        return question
    calls = 0

    def agreed() -> bool:
        nonlocal calls
        calls += 1
        return calls % _STEPS_BETWEEN_QUESTIONS == 0 and any(of_all(question()))

    return agreed


def _waiting(communicate: Callable[[], Any]) -> None:
    try:
        communicate()
    except RuntimeError as error:  # a process that ended, or a timeout
        raise Lost(f"process {rank()} of {size()} lost the others ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
