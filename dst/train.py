"""One training, from a config to a finished run directory: ``python -m dst.train model=… dataset=… …``."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dst import ranks
from dst.attempt import Attempt, Stopped
from dst.config import Config, checked, parent_of
from dst.config.identity import PARENT_WEIGHTS
from dst.config.tree import CONF_DIR
from dst.errors import UserError, place_faults_told
from dst.files.lock import Locked, locked
from dst.run.archive import archive
from dst.run.code import changed_components, code_of
from dst.run.directory import RunDirectory
from dst.terminal.arguments import arguments, help_text
from dst.terminal.exits import command
from dst.terminal.output import announce, describe, report
from dst.terminal.signals import StopSignals
from dst.training.beginning import NOTHING, Inherited, check_same_shapes
from dst.training.build import training_factory
from dst.training.loop import Training

log = logging.getLogger("dst")


def run(
    cfg: DictConfig | Config,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda metrics: None,
) -> dict[str, Any]:
    """Trains what ``cfg`` describes and returns its summary, which is also ``summary.json`` in the run directory.

    A finished run returns its summary at once, unless ``cfg.rerun`` archives it; an unfinished one goes on from its
    checkpoint and ends as if it had never stopped.

    Args:
        cfg: as composed from ``conf/train.yaml``.
        should_stop: asked after every step; once true, a checkpoint is written and :class:`Stopped` raised.
        on_epoch: called with the line of ``metrics.jsonl`` of each epoch trained now; an exception ends the attempt.

    Raises:
        UserError: for a mistake in the config; a :class:`~dst.errors.PlaceError` where a device, the data or space on
            the disk is missing, or a file system fails.
        Locked: if another process is at work on this run.
        Stopped: see ``should_stop``.
    """
    ranks.join()
    asked = checked(cfg)
    config = replace(asked, rerun=False)  # stored as it is, it would let whoever resumes the run begin it again
    with place_faults_told(), _run_directory(config) as directory:
        finished = ranks.from_first(directory.summary)
        if finished and not asked.rerun:
            _tell_finished(finished, config)
            _tidy(config, directory)
            return finished
        make = training_factory(config)

        def make_training(begins: bool) -> Training:
            return make(inherited(config, should_stop) if begins else None)

        begins = ranks.from_first(lambda: bool(finished) or not directory.has_checkpoint)
        training = make_training(begins)
        _check_alike(config, directory.run_id, training)
        if finished and ranks.rank() == 0:
            log.info("the run as it was is kept in %s", archive(directory.path))
        directory.create()  # after all that may be refused, so that a mistake leaves nothing behind
        with locked(directory.path) as lock:
            if summary := ranks.from_first(directory.summary):  # another process finished it between the two looks
                return summary
            directory.guard = lock.confirm
            directory.remove_litter()
            directory.write_config()

            def stop() -> bool:
                lock.check()
                return lock.should_give_up() or should_stop()

            attempt = Attempt(config, directory, training, begins, make_training, ranks.any_of(stop), on_epoch)
            return attempt.finish()


@contextlib.contextmanager
def _run_directory(config: Config) -> Iterator[RunDirectory]:
    """Yields the run's directory; in processes that help the first one a temporary one that nobody reads."""
    if ranks.rank() == 0:
        yield RunDirectory(config)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield RunDirectory(replace(config, output_dir=folder))


def inherited(config: Config, should_stop: Callable[[], bool] = lambda: False) -> Inherited:
    """Returns what a run takes over from its parent, which is trained to its end first if need be.

    Args:
        config: checked, of the run.
        should_stop: as of :func:`run`.

    Raises:
        UserError: for a parent that diverged, or that kept no weights of the step.
    """
    parent = parent_of(config)
    if parent is None:
        return NOTHING
    check_same_shapes(config, parent)
    directory = RunDirectory(parent)
    summary = ranks.from_first(directory.summary)
    if summary is None:
        log.info("its parent comes first, run %s: %s", directory.run_id, describe(parent))
        try:
            summary = run(parent, should_stop=should_stop)
        except Locked as error:
            raise Locked(f"its parent is not finished yet: {error}") from error
    if summary["status"] == "diverged":
        raise UserError(f"its parent, run {directory.run_id}, diverged: there is nothing to start from")
    masks = ranks.from_first(directory.read_masks) if config.initial_mask.name == "parent" else None
    if config.weight_init.name not in PARENT_WEIGHTS:
        return Inherited(None, masks)
    step = config.weight_init.step
    weights = ranks.from_first(lambda: directory.read_weights(step))
    if weights is None and step == 0:
        weights = training_factory(parent)(inherited(parent, should_stop)).model.state_dict()
    if weights is None:
        raise UserError(
            f"weight_init.step={step}: its parent, run {directory.run_id}, is finished and kept no weights of that "
            f"step; train the parent anew with checkpoint.snapshots=[{step}] rerun=true"
        )
    return Inherited(weights, masks)


def _tidy(config: Config, directory: RunDirectory) -> None:
    """Removes what a process left that was killed after the run was finished."""
    if directory.is_tidy(keep := config.checkpoint.keep):
        return
    with contextlib.suppress(Locked, OSError), locked(directory.path):
        directory.remove_litter()
        directory.drop_checkpoints(previous_only=keep != "nothing")


def _check_alike(config: Config, run_id: str, training: Training) -> None:
    """Raises UserError if the processes that train a run are not of the same config, data, code and torch."""
    if ranks.size() == 1:
        return
    code = code_of(asdict(config))
    mine = {
        "configs": run_id,
        "data": training.data.fingerprint,
        "code": json.dumps([code["hash"], code["components"]]),
        "versions of torch": torch.__version__,
    }
    all_of_them = ranks.of_all(mine)
    if different := [name for name in mine if len({one[name] for one in all_of_them}) > 1]:
        raise UserError(
            f"the processes of this run have different {' and '.join(different)}; start them with equal arguments, in "
            "equal environments"
        )


def _tell_finished(summary: Mapping[str, Any], config: Config) -> None:
    changed = changed_components(summary.get("code"), asdict(config))
    if changed:
        since = f", though the source code of its {' and '.join(changed)} has changed since"
        log.warning("already finished, not trained now%s; rerun=true trains it anew", since)
    else:
        log.info("already finished, not trained now; rerun=true trains it anew")


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def _task(cfg: DictConfig) -> float | None:
    alone = HydraConfig.get().mode is RunMode.RUN  # in a sweep Hydra adds which of its jobs it was
    with _ended_in_one_line() if alone else contextlib.nullcontext():
        config = checked(cfg)
        stop = StopSignals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), second_ends=True)
        ranks.join()
        if ranks.rank():
            log.disabled = True
            with _first_tells(stop.received):
                run(config, should_stop=stop.received)
            return None
        announce(config)
        summary = run(config, should_stop=stop.received)
        report(config, summary)
    accuracy: float | None = summary["best_val_acc"]
    return accuracy  # what Hydra's sweepers optimise


@contextlib.contextmanager
def _first_tells(stopped: Callable[[], bool]) -> Iterator[None]:
    """Leaves the word to the first process where it found the same mistake: it ends, and this one is stopped then."""
    try:
        yield
    except UserError:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if stopped():
                sys.exit(2)
            time.sleep(0.1)
        raise


@contextlib.contextmanager
def _ended_in_one_line() -> Iterator[None]:
    """Ends the process with one line on stderr where a person made a mistake or wished it."""
    with command():
        try:
            yield
        except Stopped as stopped:
            sys.exit(f"stopped: {stopped}; give the same command again to continue")
        except Locked as error:
            print(f"error: {error}; it will be finished there", file=sys.stderr)
            sys.exit(3)


def main() -> None:
    """The command line: Hydra's, but a mistake is one line on stderr and exit status 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise, so that the line is ours
    with _ended_in_one_line():
        if {"-h", "--help"} & {*sys.argv[1:]}:
            print(help_text([argument for argument in sys.argv[1:] if not argument.startswith("-")]), end="")
            return
        sys.argv[1:] = arguments(sys.argv[1:])
        _task()


if __name__ == "__main__":
    main()
