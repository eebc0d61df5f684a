"""The trials of a search, in Optuna's journal: which are there, which to train next, and who trains them."""

from __future__ import annotations

import contextlib
import math
import random
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dst.errors import UserError
from dst.files.lock import DirectoryLock, Locked, last_heartbeat, locked
from dst.run.layout import CLAIMS, TRIALS, sweep_dir

from ..sweep import Overrides
from .description import Search
from .files import read

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.trial import TrialState
except ImportError as error:
    raise UserError("search: needs Optuna 4.2 or newer: pip install 'fantastic-weights[search]'") from error

_RESUMES = "resumes"
"""Attribute of a trial that goes on with one whose process ended: the number of that trial."""


@dataclass
class Claim:
    """A trial that this process holds, until the end of its block; another one then goes on with it unless it was told.

    Attributes:
        combination: name of the study.
        overrides: of each of its runs.
        pruned: whether the pruner decided to stop it.
    """

    combination: str
    overrides: list[Overrides]
    pruned: bool = field(default=False, init=False)
    _search: Search
    _study: Any
    _trial: Any
    _lock: DirectoryLock
    _held: contextlib.ExitStack
    _best: float = field(default=-math.inf, init=False)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    @property
    def is_lost(self) -> bool:
        """Whether another process may have taken the trial over, as this one was silent for long."""
        return self._lock.lost or self._lock.should_give_up()

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Asks the pruner about an epoch.

        Args:
            metrics: a line of ``metrics.jsonl``.
        """
        if self._search.choice("pruner")["name"] == "none":
            return
        value = metrics.get(self._search.epoch_metric)
        value = math.nan if value is None else float(value)
        if self._search.metric == "best_val_acc":
            self._best = value = max(self._best, value)
        self._trial.report(value, step=int(metrics["epoch"]))
        self.pruned = self._trial.should_prune()

    def record_runs(self, run_ids: Iterable[str]) -> None:
        """Records the ids of the trial's runs, for ``status``."""
        self._trial.set_user_attr("runs", list(run_ids))

    def tell(self, values: Iterable[float | None]) -> None:
        """Ends the trial with the mean of its runs' results; a diverged run that has none counts as the worst."""
        worst = math.inf if self._search.direction == "minimize" else 0.0
        found = [worst if value is None else value for value in values]
        self._study.tell(self._trial, sum(found) / len(found), skip_if_finished=True)

    def tell_pruned(self) -> None:
        """Ends the trial with the value of its last epoch."""
        self._study.tell(self._trial, state=TrialState.PRUNED, skip_if_finished=True)

    def tell_failed(self, error: str) -> None:
        """Ends the trial without a value.

        Args:
            error: one-line reason.
        """
        self._trial.set_user_attr("error", error)
        self._study.tell(self._trial, state=TrialState.FAIL, skip_if_finished=True)


class Studies:
    """The studies of a search that has begun, one for each combination of ``each``.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.

    Raises:
        UserError: if there is no such search.
    """

    def __init__(self, name: str, output_dir: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name, self.output_dir = name, output_dir
        self.search = read(name, output_dir)
        self._directory = sweep_dir(output_dir, name)
        (self._directory / CLAIMS).mkdir(exist_ok=True)
        path = str(self._directory / TRIALS)
        backend = JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
        try:
            self._storage = optuna.storages.JournalStorage(backend)
        except ValueError as error:
            raise UserError(
                f"{path}: is damaged ({error}); remove it and search again: runs that are finished are free"
            ) from error
        self._distributions = self.search.distributions()

    @cached_property
    def combinations(self) -> dict[str, Overrides]:
        """The overrides of each study, by its name."""
        return self.search.combinations()

    def begin(self) -> None:
        """Creates the studies that are missing, with the points of a grid."""
        with self._asking():
            for combination in self.combinations:
                study = optuna.create_study(
                    study_name=combination,
                    storage=self._storage,
                    direction=self.search.direction,
                    load_if_exists=True,
                )
                for point in self.search.grid():
                    study.enqueue_trial(point, skip_if_exists=True)

    def trials(self, combination: str) -> list[Any]:
        """Returns Optuna's trials of a study, without those that another one goes on with."""
        found = self._study(combination).get_trials(deepcopy=False)
        resumed = {trial.user_attrs.get(_RESUMES) for trial in found}
        return [trial for trial in found if trial.number not in resumed]

    def wanted(self, combination: str) -> int:
        """Returns the number of trials that a study is to have."""
        return len(self.search.grid()) or self.search.trials

    def left(self) -> int:
        """Returns the number of trials that are still to end."""
        return sum(self._left(combination) for combination in self.combinations)

    def _left(self, combination: str) -> int:
        ended = sum(trial.state.is_finished() for trial in self.trials(combination))
        return max(0, self.wanted(combination) - ended)

    def claim(self) -> Claim | None:
        """Returns a trial to train: one whose process ended, else a new one of the study that has the fewest.

        None if all have ended or are in training elsewhere.
        """
        with self._asking():
            for combination in self.combinations:
                self._requeue_abandoned(combination)
            for combination in sorted(self.combinations, key=self._begun):
                if self._begun(combination) < self.wanted(combination):
                    return self._ask(combination)
        return None

    def heartbeats(self) -> dict[str, tuple[int, float] | None]:
        """Returns the last heartbeat of the process of each trial in training, by the name of its claim."""
        paths = [
            self._claim_path(combination, trial.number)
            for combination in self.combinations
            for trial in self.trials(combination)
            if trial.state == TrialState.RUNNING
        ]
        return {path.name: last_heartbeat(path) for path in paths}

    def _begun(self, combination: str) -> int:
        return sum(trial.state != TrialState.WAITING for trial in self.trials(combination))

    def _requeue_abandoned(self, combination: str) -> None:
        """Has the trials whose processes ended tried again: their runs go on from their checkpoints."""
        study = self._study(combination)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            path = self._claim_path(combination, trial.number)
            path.mkdir(exist_ok=True)  # missing if the process ended at once
            with contextlib.suppress(Locked), locked(path):
                if study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:  # not told meanwhile
                    study.enqueue_trial(trial.params, user_attrs={_RESUMES: trial.number})
                    study.tell(trial.number, state=TrialState.FAIL)

    def _ask(self, combination: str) -> Claim:
        study = self._study(combination, asks=True)
        trial = study.ask(self._distributions)
        path = self._claim_path(combination, trial.number)
        path.mkdir(exist_ok=True)
        held = contextlib.ExitStack()
        lock = held.enter_context(locked(path))
        overrides = self.search.runs(self.combinations[combination], trial.params)
        return Claim(combination, overrides, self.search, study, trial, lock, held)

    def _study(self, combination: str, *, asks: bool = False) -> Any:
        """Loads a study; to ask, with a sampler whose draws depend on the number of trials alone, not on who asks."""
        sampler = None
        if asks:
            trials = len(self._study(combination).get_trials(deepcopy=False))
            key = f"{self.search.choice('sampler').get('seed', 0)} {combination} {trials}"
            sampler = self.search.make("sampler", seed=zlib.crc32(key.encode()))
        pruner = self.search.make("pruner")
        return optuna.load_study(study_name=combination, storage=self._storage, sampler=sampler, pruner=pruner)

    def _claim_path(self, combination: str, number: int) -> Path:
        return self._directory / CLAIMS / f"{quote(combination, safe='=,')}.{number}"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Holds the lock under which trials are asked for, one process after another."""
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(locked(self._directory / CLAIMS))
                    break
                except Locked:
                    time.sleep(random.uniform(0.05, 0.2))
            yield
