"""Uploads finished runs to Weights & Biases from their directories, for clusters whose nodes have no network.

A run is uploaded under its run id by the tracker that training uses, so a run that was tracked during training or
uploaded before is continued, not duplicated. Its directory records the upload.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dst.config import TrackerConfig
from dst.errors import UserError
from dst.files.atomic import atomic_file
from dst.files.records import read_lines
from dst.run.layout import UPLOADED, runs_dir
from dst.run.outcome import read_summary
from dst.run.tracker import report_logs
from dst.run.wandb_tracker import WandbTracker

from .plan import Plan
from .state import is_finished

_MAX_ATTEMPTS = 6
_FIRST_WAIT_S = 4.0
_TIMEOUT_S = 300.0
_PERMANENT_ERROR = re.compile(
    r"\b40[0134]\b|permission|unauthori[sz]ed|api.?key|not found|does not exist", re.IGNORECASE
)
"""Errors of W&B for which a retry is useless."""


def sync(plan: Plan, *, jobs: int, entity: str | None, project: str | None, dry_run: bool) -> int:
    """Uploads the finished runs that are not uploaded yet; returns an exit status, 1 if any upload failed.

    Args:
        plan: the runs.
        jobs: number of parallel uploads.
        entity: W&B entity; None for the one in the run's config.
        project: W&B project; None for the one in the run's config.
        dry_run: only print how many runs would be uploaded.

    Raises:
        UserError: without a W&B API key, or if the first uploads all fail.
    """
    finished = [run for run in plan.runs if is_finished(plan.run_dir(run.run_id))]
    mode, server = _mode_and_server(key_needed=not dry_run)
    uploads = [
        Upload(plan.run_dir(run.run_id), run.config, plan.name, entity, project, mode, server) for run in finished
    ]
    new = [upload for upload in uploads if not upload.is_done()]
    print(f"{len(finished)} of {len(plan.runs)} runs are finished, {len(finished) - len(new)} of them uploaded already")
    if dry_run or not new:
        return 0
    failures: list[str] = []
    with (
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(new), unit="run", disable=None, dynamic_ncols=True) as bar,
    ):
        futures = [pool.submit(upload) for upload in new]
        for done, future in enumerate(as_completed(futures), start=1):
            bar.update()
            if failure := future.result():
                failures.append(failure)
            if len(failures) == done >= min(3, len(new)):
                pool.shutdown(cancel_futures=True)
                raise UserError(f"no run could be uploaded to {server}: {failures[-1]}")
    kept = (
        f" to offline folders, for: wandb sync {runs_dir(plan.output_dir)}/*/wandb/offline-run-*"
        if mode == "offline"
        else ""
    )
    print(
        f"{len(new) - len(failures)} uploaded{kept}" + (f", {len(failures)} failed: {failures[-1]}" if failures else "")
    )
    return int(bool(failures))


@dataclass(frozen=True)
class Upload:
    """The upload of one run; calling it returns the reason of a failure, empty on success."""

    directory: Path
    config: dict[str, Any]
    sweep: str
    entity: str | None
    project: str | None
    mode: str
    server: str

    def __call__(self) -> str:
        """Uploads the run, with retries and exponential backoff while W&B is busy."""
        failure = ""
        for attempt in range(_MAX_ATTEMPTS):
            if attempt:
                time.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))
            failure = self._attempt()
            if not failure:
                with atomic_file(self.directory / UPLOADED) as file:
                    file.write(json.dumps(self._record()).encode())
            if not failure or _PERMANENT_ERROR.search(failure):
                return failure
        return failure

    def is_done(self) -> bool:
        """Whether the run was uploaded to this project before."""
        return read_lines(self.directory / UPLOADED) == [self._record()]

    def _record(self) -> dict[str, Any]:
        config = self._tracker_config()
        return {"server": self.server, "entity": config.entity, "project": config.project, "mode": self.mode}

    def _tracker_config(self) -> TrackerConfig:
        config = TrackerConfig(**self.config["tracker"])
        return replace(
            config,
            tags=list(dict.fromkeys([*config.tags, self.sweep])),
            entity=self.entity or config.entity,
            project=self.project or config.project,
            mode=self.mode,
            timeout_s=_TIMEOUT_S,
        )

    def _attempt(self) -> str:
        run_id = self.directory.name
        with tempfile.TemporaryDirectory() as scratch:
            tracker = _UploadTracker(self._tracker_config())
            summary = read_summary(self.directory) or {}
            where = self.directory if self.mode == "offline" else Path(scratch)
            tracker.start(run_id, self.config, where, summary.get("code"))
            report_logs(tracker, self.directory)
            tracker.finish(summary)
        return tracker.failure


class _UploadTracker(WandbTracker):
    """Stores the first failure in ``failure``, where the tracker of training only warns."""

    failure = ""

    def _start_run(self, arguments: dict[str, Any]) -> Any:
        self._mode()
        return self._wandb_init(arguments, self.cfg.mode)

    def _warn(self, reason: object, outcome: str = "") -> None:
        self.failure = self.failure or " ".join(str(reason).split())[:300] or type(reason).__name__


def _mode_and_server(*, key_needed: bool) -> tuple[str, str]:
    """Returns mode and server from W&B's settings; raises UserError if an API key is needed and missing."""
    import wandb

    from dst.run.wandb_tracker import has_credentials

    try:
        settings = wandb.setup(wandb.Settings(silent=True)).settings
    except ValueError as error:  # W&B validates its environment variables and files
        raise UserError(f"W&B's settings: {' '.join(str(error).split())[:200]}") from error
    wandb.teardown()
    if key_needed and settings.mode != "offline" and not has_credentials(settings.base_url):
        raise UserError(
            f"no API key for {settings.base_url}: type wandb login or set WANDB_API_KEY (WANDB_MODE=offline needs none)"
        )
    return ("offline" if settings.mode == "offline" else "online"), settings.base_url
