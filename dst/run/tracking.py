"""Where a run reports to besides its directory: nowhere, or Weights & Biases. The run directory stays the truth."""

from __future__ import annotations

import atexit
import contextlib
import logging
import netrc
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dst.config import TrackerConfig
from dst.files.records import INTEGER, NUMBER, OBJECT, read_lines
from dst.run.archive import was_archived
from dst.run.layout import METRICS, TOPOLOGY

log = logging.getLogger("dst")


class Tracker:
    """Reports to nobody, as the run directory has it all; the base of those that report to somebody."""

    def start(self, run_id: str, config: dict[str, Any], run_dir: Path, code: Any = None) -> None:
        """Begins the report of run ``run_id``, or continues the one of an earlier attempt.

        Args:
            run_id: of the run.
            config: as ``config.yaml`` has it.
            run_dir: of the run.
            code: as ``summary.json`` has it, see :func:`dst.run.code.code_of`.
        """

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """Reports a line of ``metrics.jsonl``."""

    def log_topology(self, update: dict[str, Any]) -> None:
        """Reports a line of ``topology.jsonl``."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Ends the report with what ``summary.json`` holds; with nothing for a run that is not at its end."""


def make_tracker(cfg: TrackerConfig) -> Tracker:
    """Returns the tracker ``cfg.name`` asks for: ``local`` or ``wandb``."""
    return WandbTracker(cfg) if cfg.name == "wandb" else Tracker()


def report_logs(tracker: Tracker, run_dir: Path) -> None:
    """Reports what the logs of a run directory hold, in the order it came; W&B passes over what it has already."""
    topology = read_lines(run_dir / TOPOLOGY, {"step": INTEGER, "prune_fraction": NUMBER, "layers": OBJECT})
    updates = [(line["step"], 0, tracker.log_topology, line) for line in topology]
    metrics = read_lines(run_dir / METRICS, {"step": INTEGER, "epoch": INTEGER})
    epochs = [(line["step"], 1, tracker.log_epoch, line) for line in metrics]
    for _, _, report, line in sorted([*updates, *epochs], key=lambda entry: entry[:2]):
        report(line)


class WandbTracker(Tracker):
    """Reports to Weights & Biases from a thread of its own; training neither waits for it nor fails with it.

    Whatever goes wrong there is one warning. An online run that cannot reach the server is kept offline.
    """

    def __init__(self, cfg: TrackerConfig) -> None:
        self.cfg = cfg
        self._thread: threading.Thread | None = None
        self._tasks: queue.SimpleQueue[Callable[[Any], None] | None] = queue.SimpleQueue()  # None: the last one
        self._defined: set[str] = set()  # the metrics that W&B knows the x axis of
        self._exit_code = 1  # W&B calls a run failed that ends with another than 0; resuming it makes it running again
        self._warned = False
        self._gave_up = False

    def start(self, run_id: str, config: dict[str, Any], run_dir: Path, code: Any = None) -> None:
        """Starts the thread, which begins the W&B run of that id or resumes it; its files go to ``run_dir/wandb``.

        W&B's config has what tells runs apart as plain columns to group by, and the whole config as ``config``.
        """
        arguments = {
            "project": self.cfg.project,
            "entity": self.cfg.entity,
            "id": run_id,
            "name": display_name(config),
            "resume": None if was_archived(run_dir) else "allow",  # None: a new run, or its steps would be passed over
            "group": self.cfg.group or f"{config['model']['name']}/{config['dataset']['name']}",
            "job_type": self.cfg.job_type or _method(config),
            "tags": [tag[:64] for tag in self.cfg.tags],  # W&B takes no longer ones
            "config": {**columns(config), "code": code, "config": config},
            "dir": str(run_dir),
        }
        self._thread = threading.Thread(target=self._work, args=(arguments,), name="dst-wandb", daemon=True)
        self._thread.start()

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """Queues a line of ``metrics.jsonl``, to be drawn against ``epoch``."""
        self._report({key: value for key, value in metrics.items() if value is not None}, "epoch", commit=True)

    def log_topology(self, update: dict[str, Any]) -> None:
        """Queues a line of ``topology.jsonl`` as ``topology/<layer>/<count>``, to be drawn against ``step``."""
        metrics = {"step": update["step"], "topology/prune_fraction": update["prune_fraction"]}
        for layer, counts in update["layers"].items():
            metrics |= {f"topology/{layer}/{key}": count for key, count in counts.items()}
        self._report(metrics, "step", commit=False)  # an epoch that ends at this very step shares W&B's record of it

    def finish(self, summary: dict[str, Any]) -> None:
        """Ends the report; waits for W&B to take what is left, but no longer than ``timeout_s``."""
        atexit.unregister(self._finish_at_exit)
        if self._thread is None or self._gave_up:
            return
        if summary:
            self._exit_code = 0
            self._do(lambda run: run.summary.update(summary))
        self._tasks.put(None)
        self._thread.join(self.cfg.timeout_s)
        if self._thread.is_alive():
            self._gave_up = True
            self._warn(f"no answer within tracker.timeout_s={self.cfg.timeout_s:g}")
            _end_service(kill=True)

    def _finish_at_exit(self) -> None:
        self.finish({})

    def _report(self, metrics: dict[str, Any], x_axis: str, *, commit: bool) -> None:
        """Logs under the optimizer step, so that W&B passes over what an earlier attempt has already logged there."""

        def report(run: Any) -> None:
            for key in metrics.keys() - self._defined - {"epoch", "step"}:
                run.define_metric(key, step_metric=x_axis)
            self._defined.update(metrics)
            run.log(metrics, step=metrics["step"], commit=commit)

        self._do(report)

    def _do(self, task: Callable[[Any], None]) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._tasks.put(task)

    def _work(self, arguments: dict[str, Any]) -> None:
        """The thread: everything that touches wandb, its import of a second included."""
        try:
            run = self._init(arguments)
            while (task := self._tasks.get()) is not None:
                task(run)
            run.finish(exit_code=self._exit_code)
        except BaseException as error:  # wandb raises SystemExit too; nothing of it may show but the line
            self._warn(error)
            _end_service(kill=True)  # or wandb's exit hook waits for it, or finds it gone and shows a traceback

    def _init(self, arguments: dict[str, Any]) -> Any:
        """Returns a W&B run: as the mode asks for, or offline if that is online and the server cannot be reached."""
        mode, sync = self._mode(), f"wandb sync {arguments['dir']}/wandb/offline-run-*"
        try:
            run = self._begin(arguments, mode)
        except Exception as error:
            if mode != "online" or self._gave_up:
                raise
            self._warn(error, f"the run is kept offline, for: {sync}")
        else:
            if mode == "offline":
                log.info("Weights & Biases is offline; upload the run with: %s", sync)
            return run
        _end_service()  # as it holds the id of the failed attempt in use
        return self._begin(arguments, "offline")

    def _mode(self) -> Any:
        """Loads wandb, quietly, and returns the mode asked for; ``offline`` where there is no key for ``online``."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # the reports can hold up the exit for half a minute
        import wandb

        quiet = wandb.Settings(silent=True, show_errors=False, show_warnings=False)
        found = wandb.setup(quiet).settings  # with WANDB_* and W&B's own settings files
        atexit.register(self._finish_at_exit)  # now, so as to come before wandb's own, which waits without end
        mode: Any = self.cfg.mode or found.mode
        if mode == "online" and not has_credentials(found.base_url):
            mode = "offline"  # wandb would ask for a key
        return mode

    def _begin(self, arguments: dict[str, Any], mode: Any) -> Any:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_save_requirements=False,
            init_timeout=self.cfg.timeout_s / 2,  # leaves time for the attempt offline
            finish_timeout=self.cfg.timeout_s * 0.8,  # wandb giving up by itself keeps more than being killed
            finish_timeout_raises=True,
        )
        return wandb.init(mode=mode, reinit="create_new", settings=settings, **arguments)

    def _warn(self, reason: object, outcome: str = "the run goes on without it") -> None:
        """One line a run."""
        if not self._warned:
            self._warned = True
            line = " ".join(str(reason).split()) or type(reason).__name__
            log.warning("Weights & Biases failed, %s (%s)", outcome, line[:300])


def columns(config: dict[str, Any]) -> dict[str, Any]:
    """Returns what tells runs apart as plain values, as in ``summary.json``; None where it has no effect."""
    method = _method(config)
    dynamic = method not in ("dense", "static")
    return {
        "model": config["model"]["name"],
        "dataset": config["dataset"]["name"],
        "criterion": config["criterion"]["name"] if dynamic else None,
        "growth": config["growth"]["name"] if dynamic else None,
        "density": 1.0 if method == "dense" else config["density"]["value"],
        "update_period": config["update_period"]["steps"] if dynamic else None,
        "seed": config["seed"],
    }


def display_name(config: dict[str, Any]) -> str:
    """Returns the method, its density and period, and the seed: ``magnitude+gradient d0.05 Δt800 s1``."""
    row, method = columns(config), _method(config)
    words = [
        method if row["growth"] is None else f"{method}+{row['growth']}",
        "" if method == "dense" else f"d{row['density']:g}",
        "" if row["update_period"] is None else f"Δt{row['update_period']}",
        f"s{row['seed']}",
    ]
    return " ".join(filter(None, words))


def _method(config: dict[str, Any]) -> str:
    if config["density"]["value"] is None:
        return "dense"
    return "static" if config["update_period"]["steps"] is None else str(config["criterion"]["name"])


def has_credentials(base_url: str) -> bool:
    """Whether wandb would find an API key for that server without asking the user for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    hosts = {urlsplit(base_url).netloc}
    if hosts <= {"api.forge.coreweave.com", "api.wandb.ai"}:  # two names of W&B's own server
        hosts = {"api.forge.coreweave.com", "api.wandb.ai"}
    try:
        entries = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        return False
    return any(entries.authenticators(host) for host in hosts)


def _end_service(*, kill: bool = False) -> None:
    """Ends wandb's helper process; ``kill``: at once, which frees whoever waits for it, wandb's exit hook included."""
    with contextlib.suppress(BaseException):  # wandb may be in any state
        if kill:
            service_process().kill()
        sys.modules["wandb"].teardown()


def service_process() -> Any:
    """Returns wandb's helper process, a ``subprocess.Popen``, by its private handle: there is no public one."""
    return sys.modules["wandb"].sdk.wandb_setup._singleton._connection._proc._process
