"""What a topology update does to the gradient (Evci et al., 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dst.probes.base import View
from dst.probes.gradient_flow import GradientFlow


@dataclass(frozen=True)
class UpdateEffect(GradientFlow):
    """The masked gradient norm of :class:`GradientFlow` right ``before`` and right ``after`` each topology update.

    Both are of the same ``sample`` samples of the training split; ``change`` is their difference. Newly grown weights
    are 0 after the update, but their gradient counts. Runs without topology updates have no lines.
    """

    of_updates: ClassVar[bool] = True
    after_updates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sample:
            raise ValueError(
                f"probes.{self.name}.sample={self.sample}: must be 1 or more; the batch's gradient is that before"
            )

    def due(self, step: int, update: int) -> bool:
        """Measures at topology updates alone; see :meth:`Probe.due`."""
        return update > 0

    def measure(self, view: View) -> dict[str, Any]:
        """Returns ``before``, of the network and of each sparse layer."""
        found = super().measure(view)
        layers = {name: {"before": norms["masked"]} for name, norms in found["layers"].items()}
        return {"before": found["masked"], "layers": layers}

    def measure_update(self, view: View, before: Mapping[str, Any]) -> dict[str, Any]:
        """Returns ``after`` and ``change``, of the network and of each sparse layer."""
        after = super().measure(view)
        layers = {
            name: _with_change(before["layers"][name], norms["masked"]) for name, norms in after["layers"].items()
        }
        return {**_with_change({"before": before["before"]}, after["masked"]), "layers": layers}


def _with_change(before: Mapping[str, Any], after: Any) -> dict[str, Any]:
    return {**before, "after": after, "change": after - before["before"]}
