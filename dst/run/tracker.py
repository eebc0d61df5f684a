"""Trackers: services that a run reports its metrics to. The run directory stays the complete record.

:mod:`dst.run.wandb_tracker` has the one for Weights & Biases; what all trackers share is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dst.config.identity import DEFAULTS, groups_of, method_of
from dst.files.records import INTEGER, NUMBER, OBJECT, read_lines
from dst.run.layout import METRICS, PROBES, TOPOLOGY

_NAMED = ("procedure", "initial_mask", "weight_init")
"""Groups that the display name of a run tells where they are not at their defaults."""


class Tracker:
    """The tracker ``local``, which reports nothing, and the base class of the others."""

    def start(self, run_id: str, config: dict[str, Any], run_dir: Path, code: Any = None) -> None:
        """Starts reporting a run, or continues the report of an earlier attempt.

        Args:
            run_id: id of the run.
            config: content of ``config.yaml``.
            run_dir: directory of the run.
            code: what :func:`dst.run.code.code_of` returned for the run.
        """

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """Reports a line of ``metrics.jsonl``."""

    def log_step(self, measures: dict[str, Any]) -> None:
        """Reports what :func:`of_topology` or :func:`of_probe` made of a line; steps never go back."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Ends the report with the content of ``summary.json``; an empty ``summary`` means an unfinished run."""


def report_logs(tracker: Tracker, run_dir: Path) -> None:
    """Reports the logs of a run directory in the order of their steps; W&B ignores lines that it already has.

    Args:
        tracker: already started.
        run_dir: directory of the run.
    """
    topology = read_lines(run_dir / TOPOLOGY, {"step": INTEGER, "prune_fraction": NUMBER, "layers": OBJECT})
    measures = [of_topology(update) for update in topology]
    for path in sorted((run_dir / PROBES).glob("*.jsonl")):
        measures += [of_probe(path.stem, record) for record in read_lines(path, {"step": INTEGER})]
    metrics = read_lines(run_dir / METRICS, {"step": INTEGER, "epoch": INTEGER})
    lines = [(tracker.log_step, line) for line in measures] + [(tracker.log_epoch, line) for line in metrics]
    for log_line, line in sorted(lines, key=lambda entry: entry[1]["step"]):  # at one step, the epoch comes last
        log_line(line)


def of_topology(update: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a line of ``topology.jsonl`` under the trackers' names: ``topology/<layer>/<count>`` beside ``step``."""
    return {
        "step": update["step"],
        "topology/prune_fraction": update["prune_fraction"],
        **dict(_numbers("topology", update["layers"])),
    }


def of_probe(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the numbers of a probe's line: ``probes/<name>/<measure>`` and ``probes/<name>/<layer>/<measure>``.

    Lists and sets of weights stay in the run directory alone.

    Args:
        name: of the probe.
        record: a line of its log.
    """
    whole = {key: value for key, value in record.items() if key not in ("step", "epoch", "layers")}
    return {"step": record["step"], **dict(_numbers(f"probes/{name}", {**whole, **record.get("layers", {})}))}


def _numbers(prefix: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(f"{prefix}/{key}", item)
    elif isinstance(value, (int, float)):
        yield prefix, value


def columns(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings by which runs are grouped, under their names in ``summary.json``.

    A setting without effect on the run is None.
    """
    method = method_name(config)
    effective = groups_of(method_of(config))
    return {
        "model": config["model"]["name"],
        "dataset": config["dataset"]["name"],
        "criterion": config["criterion"]["name"] if "criterion" in effective else None,
        "growth": config["growth"]["name"] if "growth" in effective else None,
        "density": 1.0 if method == "dense" else config["density"]["value"],
        "update_period": config["update_period"]["steps"] if "update_period" in effective else None,
        "seed": config["seed"],
    }


def display_name(config: dict[str, Any]) -> str:
    """Returns the method, its density and period, and the seed: ``magnitude+gradient d0.05 Δt800 s1``.

    Choices about phases, first masks and first weights stand after the method, where they are not the defaults.
    """
    row, method, groups = columns(config), method_name(config), groups_of(method_of(config))
    chosen = {group: (config.get(group) or DEFAULTS[group])["name"] for group in _NAMED if group in groups}
    words = [
        method if row["growth"] is None else f"{method}+{row['growth']}",
        *(f"{group}={name}" for group, name in chosen.items() if name != DEFAULTS[group]["name"]),
        "" if method == "dense" else f"d{row['density']:g}",
        "" if row["update_period"] is None else f"Δt{row['update_period']}",
        f"s{row['seed']}",
    ]
    return " ".join(filter(None, words))


def method_name(config: dict[str, Any]) -> str:
    """Returns ``dense``, ``static`` or the name of the pruning criterion."""
    method = method_of(config)
    return method if method in ("dense", "static") else str(config["criterion"]["name"])
