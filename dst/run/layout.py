"""Where runs and sweeps lie below ``output_dir``, and the names of their files (explained in docs/run-directory.md)."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
TOPOLOGY = "topology.jsonl"
TENSORBOARD = "tensorboard"
PHASES = "phases.jsonl"
PROBES = "probes"
MASKS = "masks.pt"
CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint.previous.pt"
SNAPSHOTS = "snapshots"
SUMMARY = "summary.json"
FAILURE = "failure.json"
PRINTED = "log.txt"
UPLOADED = "synced.json"

PLAN = "plan.jsonl"
JOBS = "jobs.jsonl"
PROBLEMS = "problems.jsonl"
NODES = "nodes"
CANCELLED = "cancelled.txt"
ON_END = "on_end.log"
SEARCH = "search.yaml"
TRIALS = "trials.journal"
CLAIMS = "claims"

REMOVED = "removed.jsonl"


def snapshot_name(step: int | str) -> str:
    """Returns the name of the file that holds the weights after an optimizer step."""
    return f"{SNAPSHOTS}/{step}.pt"


def probe_log(name: str) -> str:
    """Returns the log of a probe, as a path in the run directory."""
    return f"{PROBES}/{name}.jsonl"


def runs_dir(output_dir: Path) -> Path:
    """Returns the folder of all run directories."""
    return output_dir / "runs"


def archive_dir(output_dir: Path) -> Path:
    """Returns the folder of archives of runs."""
    return output_dir / "archive"


def run_dir(output_dir: Path, run_id: str) -> Path:
    """Returns the directory of a run.

    Args:
        output_dir: as the config has it.
        run_id: of the run.
    """
    return runs_dir(output_dir) / run_id


def sweep_dir(output_dir: Path, name: str) -> Path:
    """Returns where everything about a sweep but its runs is kept.

    Args:
        output_dir: as the config has it.
        name: of the sweep.
    """
    return output_dir / "sweeps" / name
