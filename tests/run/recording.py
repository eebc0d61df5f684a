"""What CUDA graphs do, on the CPU: operations are recorded once and then repeated blindly, on the same memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """The operations done inside, all of autograd's included; one that hands a number to the host is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, bool | int | float) for leaf in tree_leaves(result)):
            raise RuntimeError(f"{func} not permitted while recording")
        if not str(func).startswith("profiler."):
            self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def repeat(self) -> None:
        """Does the operations again; what they return goes where it went the first time."""
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if old is not None and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


class HostRecorder:
    """A recorder for the CPU that counts its replays."""

    def __init__(self, *, room: bool = True) -> None:
        self.replays, self.room = 0, room

    def check(self) -> None:
        if not self.room:
            raise RuntimeError("no room")

    def rehearsal(self) -> AbstractContextManager[object]:
        return nullcontext()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with Operations() as operations:
            work()

        def replay() -> None:
            self.replays += 1
            operations.repeat()

        return replay

    def random_state(self) -> Tensor:
        return torch.get_rng_state()

    def set_random_state(self, state: Tensor) -> None:
        torch.set_rng_state(state)
