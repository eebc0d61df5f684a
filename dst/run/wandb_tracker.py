"""Weights & Biases as a tracker: reports from a background thread, offline if the server cannot be reached."""

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
from dst.run.archive import was_archived
from dst.run.tracker import Tracker, columns, display_name, method_name

log = logging.getLogger("dst")


class WandbTracker(Tracker):
    """Reports to Weights & Biases from a background thread, so that W&B can neither block nor fail the training.

    All errors of a run together produce one warning. An online run that cannot reach the server is kept offline.
    """

    def __init__(self, cfg: TrackerConfig) -> None:
        self.cfg = cfg
        self._thread: threading.Thread | None = None
        self._tasks: queue.SimpleQueue[Callable[[Any], None] | None] = queue.SimpleQueue()  # None ends the thread
        self._defined: set[str] = set()  # metrics whose x axis is set in W&B
        self._exit_code = 1  # W&B marks a run as failed unless this is 0; resuming it clears the mark
        self._warned = False
        self._gave_up = False

    def start(self, run_id: str, config: dict[str, Any], run_dir: Path, code: Any = None) -> None:
        """Starts the thread, which creates or resumes the W&B run of that id; its files go to ``run_dir/wandb``.

        W&B's config holds :func:`~dst.run.tracker.columns` at the top level, to group by, and the whole config under
        ``config``.
        """
        arguments = {
            "project": self.cfg.project,
            "entity": self.cfg.entity,
            "id": run_id,
            "name": display_name(config),
            "resume": None if was_archived(run_dir) else "allow",  # None: a new W&B run, or W&B would ignore its steps
            "group": self.cfg.group or f"{config['model']['name']}/{config['dataset']['name']}",
            "job_type": self.cfg.job_type or method_name(config),
            "tags": [tag[:64] for tag in self.cfg.tags],  # W&B's limit
            "config": {**columns(config), "code": code, "config": config},
            "dir": str(run_dir),
        }
        self._thread = threading.Thread(target=self._run_thread, args=(arguments,), name="dst-wandb", daemon=True)
        self._thread.start()

    def log_epoch(self, metrics: dict[str, Any]) -> None:
        """Queues a line of ``metrics.jsonl``; the x axis is ``epoch``."""
        self._log({key: value for key, value in metrics.items() if value is not None}, "epoch", commit=True)

    def log_step(self, measures: dict[str, Any]) -> None:
        """Queues the measures of a step; the x axis is ``step``."""
        self._log(measures, "step", commit=False)  # an epoch that ends at this step adds to the same W&B record

    def finish(self, summary: dict[str, Any]) -> None:
        """Ends the W&B run; waits at most ``tracker.timeout_s`` seconds for the queue to be sent."""
        atexit.unregister(self._finish_at_exit)
        if self._thread is None or self._gave_up:
            return
        if summary:
            self._exit_code = 0
            self._enqueue(lambda run: run.summary.update(summary))
        self._tasks.put(None)
        self._thread.join(self.cfg.timeout_s)
        if self._thread.is_alive():
            self._gave_up = True
            self._warn(f"no answer within tracker.timeout_s={self.cfg.timeout_s:g}")
            _end_service(kill=True)

    def _finish_at_exit(self) -> None:
        self.finish({})

    def _log(self, metrics: dict[str, Any], x_axis: str, *, commit: bool) -> None:
        """Logs under the optimizer step, so that W&B ignores what an earlier attempt has already logged."""

        def report(run: Any) -> None:
            for key in metrics.keys() - self._defined - {"epoch", "step"}:
                run.define_metric(key, step_metric=x_axis)
            self._defined.update(metrics)
            run.log(metrics, step=metrics["step"], commit=commit)

        self._enqueue(report)

    def _enqueue(self, task: Callable[[Any], None]) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._tasks.put(task)

    def _run_thread(self, arguments: dict[str, Any]) -> None:
        """Runs in the thread: all use of wandb, including its import, which takes a second."""
        try:
            run = self._start_run(arguments)
            while (task := self._tasks.get()) is not None:
                task(run)
            run.finish(exit_code=self._exit_code)
        except BaseException as error:  # wandb also raises SystemExit; only the warning may be shown
            self._warn(error)
            _end_service(kill=True)  # otherwise wandb's exit hook waits for it or prints a traceback

    def _start_run(self, arguments: dict[str, Any]) -> Any:
        """Starts and returns the W&B run in the configured mode; in offline mode if the server cannot be reached."""
        mode, sync = self._mode(), f"wandb sync {arguments['dir']}/wandb/offline-run-*"
        try:
            run = self._wandb_init(arguments, mode)
        except Exception as error:
            if mode != "online" or self._gave_up:
                raise
            self._warn(error, f"the run is kept offline, for: {sync}")
        else:
            if mode == "offline":
                log.info("Weights & Biases is offline; upload the run with: %s", sync)
            return run
        _end_service()  # it still holds the id of the failed attempt
        return self._wandb_init(arguments, "offline")

    def _mode(self) -> Any:
        """Imports wandb without output and returns the configured mode; ``offline`` if ``online`` lacks an API key."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # sending them can delay the exit by 30 s
        import wandb

        quiet = wandb.Settings(silent=True, show_errors=False, show_warnings=False)
        found = wandb.setup(quiet).settings  # includes WANDB_* and W&B's settings files
        atexit.register(self._finish_at_exit)  # after wandb's own, so it runs before it; that one waits without limit
        mode: Any = self.cfg.mode or found.mode
        if mode == "online" and not has_credentials(found.base_url):
            mode = "offline"  # wandb would prompt for a key
        return mode

    def _wandb_init(self, arguments: dict[str, Any], mode: Any) -> Any:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_save_requirements=False,
            init_timeout=self.cfg.timeout_s / 2,  # leaves time to start offline
            finish_timeout=self.cfg.timeout_s * 0.8,  # a timeout inside wandb loses less data than a kill
            finish_timeout_raises=True,
        )
        return wandb.init(mode=mode, reinit="create_new", settings=settings, **arguments)

    def _warn(self, reason: object, outcome: str = "the run goes on without it") -> None:
        """Logs a warning, at most once per run."""
        if not self._warned:
            self._warned = True
            line = " ".join(str(reason).split()) or type(reason).__name__
            log.warning("Weights & Biases failed, %s (%s)", outcome, line[:300])


def has_credentials(base_url: str) -> bool:
    """Returns whether wandb finds an API key for the server ``base_url`` without prompting."""
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
    """Ends wandb's service process; ``kill`` kills it first, which unblocks wandb's exit hook and other waiters."""
    with contextlib.suppress(BaseException):  # wandb may be in any state
        if kill:
            service_process().kill()
        sys.modules["wandb"].teardown()


def service_process() -> Any:
    """Returns wandb's service process, a ``subprocess.Popen``; wandb has no public handle to it."""
    return sys.modules["wandb"].sdk.wandb_setup._singleton._connection._proc._process
