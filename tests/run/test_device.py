"""A device's name becomes one that torch.cuda takes everywhere."""

from __future__ import annotations

import pytest
import torch

from dst.training.device import choose_device

CARD = {
    "is_available": lambda: True,
    "device_count": lambda: 2,
    "current_device": lambda: 1,
    "get_device_capability": lambda _: (8, 0),
    "get_arch_list": lambda: ["sm_80"],
}


@pytest.mark.parametrize(("name", "index"), [("auto", 1), ("cuda", 1), ("cuda:0", 0)])
def test_a_gpu_is_chosen_with_its_index(name: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for function, stand_in in CARD.items():
        monkeypatch.setattr(torch.cuda, function, stand_in)
    device = choose_device(name)
    assert device == torch.device("cuda", index)
    assert torch.cuda._utils._get_device_index(device) == index  # which torch.cuda.set_device asks for
