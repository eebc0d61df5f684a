"""One attempt at a run: resume from where an earlier one stopped, train, log, save checkpoints, write the summary."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor
from tqdm import tqdm

from dst import ranks
from dst.config import Config
from dst.config.components import build
from dst.errors import UserError
from dst.procedures import Procedure
from dst.run.code import code_of
from dst.run.directory import RunDirectory
from dst.run.layout import METRICS, PHASES, TOPOLOGY, probe_log
from dst.run.tracker import Tracker, of_probe, of_topology, report_logs
from dst.run.trackers import make_tracker
from dst.sparsity import DynamicSparsity
from dst.summary import facts, flops
from dst.training.checkpoint import load_training_state, training_state
from dst.training.evaluation import evaluate, run_epoch
from dst.training.gpu_usage import GpuUsage
from dst.training.loop import Training

log = logging.getLogger("dst")


class Stopped(Exception):
    """The run was asked to stop; its checkpoint holds where."""


class _Ended(Exception):
    """The run has ended in the middle of an epoch."""


class Attempt:
    """A training and its run directory, from wherever an earlier attempt left it to its summary.

    Args:
        config: of the run.
        directory: of the run, locked by this process.
        training: what ``make_training(begins)`` made.
        begins: whether it can begin the run, other than one that a checkpoint is to be loaded into.
        make_training: called again after a checkpoint that could not be restored.
        should_stop: asked after every step; once true, a checkpoint is written and :class:`Stopped` raised.
        on_epoch: called with the line of ``metrics.jsonl`` of each epoch.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        training: Training,
        begins: bool,
        make_training: Callable[[bool], Training],
        should_stop: Callable[[], bool],
        on_epoch: Callable[[Mapping[str, Any]], None] = lambda metrics: None,
    ) -> None:
        self.config, self.directory, self.training = config, directory, training
        self._make_training, self._begins, self._is_touched = make_training, begins, False
        self.should_stop, self.on_epoch = should_stop, on_epoch
        self.procedure: Procedure = build("procedure", config.procedure)
        self.code = code_of(asdict(config))
        self.gpu_usage = GpuUsage(training.device)
        self.tracker = Tracker() if ranks.rank() else make_tracker(config.tracker)
        self._restored: dict[str, Any] = {}
        self.duration_before = 0.0
        self.began = self.saved = time.monotonic()

    def finish(self) -> dict[str, Any]:
        """Resumes if there is something to resume, trains to the end, and returns the summary it wrote."""
        self._resume()
        training = self.training
        self._start_tracker()
        self._warn_of_static()
        steps = training.epochs * len(training.data.train)
        hidden = True if ranks.rank() else None  # None: where stderr is no terminal
        with (
            tqdm(total=steps, initial=training.step, unit="step", disable=hidden, dynamic_ncols=True) as bar,
            self.gpu_usage,
            contextlib.suppress(_Ended),
        ):
            while training.epoch < training.epochs and not training.ends_early and not self.diverged:
                if training.phase_is_over:
                    self._next_phase()
                bar.set_description(f"epoch {training.epoch + 1}/{training.epochs}", refresh=False)
                metrics = run_epoch(training, lambda: self._after_step(bar))
                self._log(metrics)
                self._leave_out_phases()
                bar.set_postfix_str(_in_short(metrics))
                if ranks.from_first(lambda: time.monotonic() - self.saved >= 60 * self.config.checkpoint.minutes):
                    self._save()
        summary = self._conclude()
        log.debug("run %s was trained to its end, step %d", self.directory.run_id, training.step)
        self.tracker.finish(summary)
        return summary

    @property
    def diverged(self) -> bool:
        """A loss is no finite number any more."""
        return any(not math.isfinite(self.training.last.get(key, 0.0)) for key in ("train_loss", "val_loss"))

    @property
    def duration(self) -> float:
        """Seconds so far, those before an interruption included."""
        return self.duration_before + time.monotonic() - self.began

    def _resume(self) -> None:
        if ranks.from_first(lambda: self.directory.resume(self._restore)):
            if ranks.size() > 1 and (state := ranks.from_first(lambda: self._restored)) and ranks.rank():
                load_training_state(self.training, state)
            log.info("resuming run %s at step %d", self.directory.run_id, self.training.step)
        elif ranks.from_first(lambda: self._is_touched) or not self._begins:
            self.training = self._make_training(True)
        self._keep_snapshot()

    def _restore(self, state: dict[str, Any]) -> None:
        """Continues from a checkpoint; raises whatever its content leads to if that is not what :meth:`_save` wrote."""
        if state["fingerprint"] != self.training.data.fingerprint:
            raise UserError(
                f"dataset={self.config.dataset.name}: the data differ from those that run {self.directory.run_id} "
                f"began with; give them a dataset.name of their own or remove {self.directory.path}"
            )
        if self._is_touched:  # by an earlier checkpoint, which could not be restored
            self.training = self._make_training(False)
        self._is_touched = True
        load_training_state(self.training, state["training"])
        self._restored = state["training"]
        self.duration_before = float(state["duration_s"])

    def _start_tracker(self) -> None:
        self.tracker.start(self.directory.run_id, asdict(self.config), self.directory.path, self.code)
        if self.training.step:
            report_logs(self.tracker, self.directory.path)  # of which a killed attempt may have told only a part

    def _warn_of_static(self) -> None:
        sparsity = self.training.sparsity
        if not isinstance(sparsity, DynamicSparsity) or not self.config.recipe.epochs:
            return
        if sparsity.update_period and sparsity.update_period >= (sparsity.stop_step or 0):
            log.warning(
                "update_period=%d is longer than the %g steps before updates end: none happens, a static run",
                sparsity.update_period,
                sparsity.stop_step,
            )

    def _after_step(self, bar: Any) -> None:
        bar.update()
        self._keep_snapshot()
        if self.training.ends_early:
            self._log_changes()
            raise _Ended
        if self.should_stop():
            self._log_changes(report=False)
            self._save()
            self.tracker.finish({})
            raise Stopped(f"run {self.directory.run_id} in epoch {self.training.epoch + 1}, step {self.training.step}")

    def _keep_snapshot(self) -> None:
        if self.training.step in self.config.checkpoint.snapshots:
            self._write_snapshot()

    def _write_snapshot(self) -> None:
        training = self.training
        self.directory.write_snapshot(training.step, training.model.state_dict(), training.sparsity.masks)

    def _log(self, metrics: dict[str, Any]) -> None:
        self._log_changes()
        self.directory.logs.append(METRICS, metrics)
        self.tracker.log_epoch(metrics)
        self.on_epoch(metrics)

    def _leave_out_phases(self) -> None:
        """Asks the procedure at the end of a phase whether some of the others are left out."""
        training = self.training
        if not training.phase_is_over or training.left_out:
            return
        accuracies: list[list[float]] = [[] for _ in range(training.phase + 1)]
        for line in self.directory.logs.read(METRICS):
            accuracies[line.get("phase", 1) - 1].append(line["val_acc"])
        if count := ranks.from_first(lambda: self.procedure.left_out(accuracies)):
            training.leave_out(training.phase + 1, count)

    def _next_phase(self) -> None:
        training = self.training
        _, test_acc = evaluate(training, training.data.test)
        self._log_phase({"test_acc": test_acc, "val_acc": training.last.get("val_acc")})
        following = training.phases[training.phase + 1]
        before = {layer.name: layer.n_active for layer in training.sparsity.layers}
        self.procedure.between(training, following)
        self._log_pruning(before)
        training.begin_phase(training.phase + 1)

    def _log_pruning(self, before: dict[str, int]) -> None:
        """Logs what a procedure pruned between two phases as a topology update, for the FLOPs to count.

        Args:
            before: the active weights of each layer.
        """
        after = {layer.name: layer.n_active for layer in self.training.sparsity.layers}
        if after == before:
            return
        layers = {
            name: {"active": n, "pruned": max(0, before[name] - n), "grown": max(0, n - before[name])}
            for name, n in after.items()
        }
        fraction = sum(counts["pruned"] for counts in layers.values()) / sum(before.values())
        update = {"step": self.training.step, "prune_fraction": fraction, "layers": layers}
        self.directory.logs.append(TOPOLOGY, update)
        self.tracker.log_step(of_topology(update))

    def _log_phase(self, results: dict[str, Any]) -> None:
        """Logs the end of the phase under way, unless an earlier attempt did."""
        training, logs = self.training, self.directory.logs
        if logs.count(PHASES) > training.phase:
            return
        if self.config.checkpoint.phases:
            self._write_snapshot()
        phase = training.phases[training.phase]
        about = {"phase": training.phase + 1, "name": phase.name, "epochs": phase.epochs, "epoch": training.epoch}
        cost = {"step": training.step, "flops_training": flops(self.config, training, logs.read(TOPOLOGY))[1]}
        logs.append(PHASES, {**about, "density": training.sparsity.density, **results, **cost})

    def _log_changes(self, *, report: bool = True) -> None:
        """Logs topology updates and what probes measured.

        Args:
            report: whether the tracker gets them now. If not, the next attempt reports them, and the epoch after them:
                W&B ignores an epoch whose step it already has.
        """
        updates = self.training.sparsity.pop_updates()
        if updates:
            self.directory.logs.append(TOPOLOGY, *updates)
        measures = [of_topology(update) for update in updates]
        if self.training.observer:
            for name, records in self.training.observer.pop_records().items():
                self.directory.logs.append(probe_log(name), *records)
                measures += [of_probe(name, record) for record in records]
        for line in sorted(measures, key=lambda line: line["step"]) if report else ():
            self.tracker.log_step(line)

    def _save(self, *, only_weights: bool = False) -> None:
        state = {
            "training": training_state(self.training, only_weights=only_weights),
            "duration_s": self.duration,
            "fingerprint": self.training.data.fingerprint,
        }
        if len(set(ranks.of_all(_checksum(self.training.sparsity.masks)))) > 1:
            raise RuntimeError("the processes of this run have different masks")
        if ranks.rank() == 0:
            self.directory.save_checkpoint(state)
        self.saved = time.monotonic()

    def _conclude(self) -> dict[str, Any]:
        """Tests the last weights and the best ones; writes the final checkpoint, the masks and, last, the summary."""
        training, keep = self.training, self.config.checkpoint.keep
        results = {key: training.last.get(key) for key in ("val_acc", "train_loss", "val_loss")}
        if not training.last or training.ends_early:  # the weights are not those of the end of an epoch
            results["val_loss"], results["val_acc"] = evaluate(training, training.data.val)
        _, results["test_acc"] = evaluate(training, training.data.test)
        self._log_phase({key: results[key] for key in ("test_acc", "val_acc")})
        if keep != "nothing":
            self._save(only_weights=keep == "weights")
        self.directory.write_masks(training.sparsity.masks)
        summary = self._about() | results
        summary |= {"best_val_acc": results["val_acc"], "test_acc_best_val": results["test_acc"]}
        if training.best.model is not None:
            training.model.load_state_dict(training.best.model)
            summary["best_val_acc"] = training.best.val_acc
            _, summary["test_acc_best_val"] = evaluate(training, training.data.test)
        self.directory.write_summary(summary)
        self.directory.drop_checkpoints(previous_only=keep != "nothing")
        return self.directory.summary() or summary

    def _about(self) -> dict[str, Any]:
        """Returns what the summary says of the run besides its results."""
        duration = self.duration
        return {
            "run_id": self.directory.run_id,
            "gpu_utilization": self.gpu_usage.mean,
            "status": "diverged" if self.diverged else "finished",
            **facts(self.config, self.training, self.directory.logs.read(TOPOLOGY)),
            "topology_updates": self.directory.logs.count(TOPOLOGY),
            "duration_s": duration,
            "steps_per_s": self.training.step / duration,
            "code": self.code,
        }


def _checksum(masks: Mapping[str, Tensor]) -> int:
    return zlib.crc32(b"".join(mask.cpu().numpy().tobytes() for mask in masks.values())) if ranks.size() > 1 else 0


def _in_short(metrics: dict[str, Any]) -> str:
    fraction = metrics["prune_fraction"]
    pruning = "" if fraction is None else f" ρ {fraction:.2f}"
    return (
        f"loss {metrics['train_loss']:.3f} acc {metrics['train_acc']:.3f} val {metrics['val_acc']:.3f} "
        f"density {metrics['density']:.2f}{pruning}"
    )
