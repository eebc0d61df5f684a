"""The run around the training: resuming, logging, checkpoints, the summary."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from dst import __version__
from dst.code import code_of
from dst.config import Config
from dst.device import device_name
from dst.errors import UserError
from dst.flops import count_forward, dense_gradients, density_history, training_flops
from dst.loop import Training
from dst.run_directory import RunDirectory
from dst.sparsity import dense_weights, sparsifiable_weights
from dst.tracking import make_tracker, report_logs

log = logging.getLogger("dst")


class Stopped(Exception):
    """The run was asked to stop; its checkpoint holds where."""


class Run:
    """One training and its run directory, from wherever an earlier attempt left it to its summary.

    Args:
        make_training: returns the training as it is before its first step.
        should_stop: asked after every step.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        make_training: Callable[[], Training],
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.directory, self.training = config, directory, make_training()
        self._make_training, self._is_fresh = make_training, True
        self.should_stop = should_stop
        self.code = code_of(asdict(config))
        self.tracker = make_tracker(config.tracker)
        self.duration_before = 0.0
        self.began = self.saved = time.monotonic()

    def finish(self) -> dict[str, Any]:
        """Resumes if there is something to resume, trains to the end, and returns the summary it wrote."""
        self._resume()
        training, epochs = self.training, self.config.recipe.epochs
        self._start_tracker()
        steps = epochs * len(training.data.train)
        self._warn_of_static()
        with tqdm(total=steps, initial=training.step, unit="step", disable=None, dynamic_ncols=True) as bar:
            while training.epoch < epochs and not self.diverged:
                bar.set_description(f"epoch {training.epoch + 1}/{epochs}", refresh=False)
                metrics = training.run_epoch(lambda: self._after_step(bar))
                self._log(metrics)
                bar.set_postfix_str(_in_short(metrics))
                if time.monotonic() - self.saved >= 60 * self.config.checkpoint.minutes:
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
        if self.directory.resume(self._restore):
            log.info("resuming run %s at step %d", self.directory.run_id, self.training.step)
        else:
            self._refresh()

    def _restore(self, state: dict[str, Any]) -> None:
        """Continues from a checkpoint; raises whatever its content leads to if that is not what :meth:`_save` wrote."""
        if state["fingerprint"] != self.training.data.fingerprint:
            raise UserError(
                f"dataset={self.config.dataset.name}: the data differ from those that run {self.directory.run_id} "
                f"began with; give them a dataset.name of their own or remove {self.directory.path}"
            )
        self._refresh()
        self._is_fresh = False
        training, steps_per_epoch = self.training, len(self.training.data.train)
        best = training.best
        training.load_state_dict(state["training"])
        if not 0 <= training.step - training.epoch * steps_per_epoch <= steps_per_epoch:
            raise ValueError(f"step {training.step} is not in epoch {training.epoch + 1}")
        if training.best.keys() != best.keys() or not isinstance(training.last, dict):
            raise ValueError("no results of the best and the last epoch")
        self.duration_before = float(state["duration_s"])

    def _refresh(self) -> None:
        """Drops what a checkpoint that could not be used may have changed."""
        if not self._is_fresh:
            self.training, self._is_fresh = self._make_training(), True

    def _start_tracker(self) -> None:
        resolved = OmegaConf.to_container(OmegaConf.structured(self.config))
        assert isinstance(resolved, dict)
        config = {str(key): node for key, node in resolved.items()}
        self.tracker.start(self.directory.run_id, config, self.directory.path, self.code)
        if self.training.step:
            report_logs(self.tracker, self.directory.path)  # of which a killed attempt may have told only a part

    def _warn_of_static(self) -> None:
        sparsity, epochs = self.training.sparsity, self.config.recipe.epochs
        if sparsity and sparsity.update_period and epochs and sparsity.update_period >= (sparsity.stop_step or 0):
            log.warning(
                "update_period=%d is longer than the %g steps before updates end: none happens, a static run",
                sparsity.update_period,
                sparsity.stop_step,
            )

    def _after_step(self, bar: Any) -> None:
        bar.update()
        if self.should_stop():
            self._log_topology()
            self._save()
            self.tracker.finish({})
            raise Stopped(f"run {self.directory.run_id} in epoch {self.training.epoch + 1}, step {self.training.step}")

    def _log(self, metrics: dict[str, Any]) -> None:
        self._log_topology()
        self.directory.append("metrics.jsonl", metrics)
        self.tracker.log_epoch(metrics)

    def _log_topology(self) -> None:
        updates = self.training.sparsity.pop_updates() if self.training.sparsity else []
        if updates:
            self.directory.append("topology.jsonl", *updates)
        for update in updates:
            self.tracker.log_topology(update)

    def _save(self, *, only_weights: bool = False) -> None:
        self.directory.save_checkpoint(
            {
                "training": self.training.state_dict(only_weights=only_weights),
                "duration_s": self.duration,
                "fingerprint": self.training.data.fingerprint,
            }
        )
        self.saved = time.monotonic()

    def _conclude(self) -> dict[str, Any]:
        """Tests the last weights and the best ones; writes the final checkpoint, the masks and, last, the summary."""
        training, keep = self.training, self.config.checkpoint.keep
        sparsity = training.sparsity
        results = {key: training.last.get(key) for key in ("val_acc", "train_loss", "val_loss")}
        if not training.last:  # no epoch was trained
            results["val_loss"], results["val_acc"] = training.evaluate(training.data.val)
        _, results["test_acc"] = training.evaluate(training.data.test)
        if keep != "nothing":
            self._save(only_weights=keep == "weights")
        self.directory.write_masks(sparsity.masks if sparsity else {})
        summary = self._facts() | results
        summary |= {"best_val_acc": results["val_acc"], "test_acc_best_val": results["test_acc"]}
        if training.best["model"] is not None:
            training.model.load_state_dict(training.best["model"])
            summary["best_val_acc"] = training.best["val_acc"]
            _, summary["test_acc_best_val"] = training.evaluate(training.data.test)
        self.directory.write_summary(summary)
        self.directory.drop_checkpoints(previous_only=keep != "nothing")
        return self.directory.summary() or summary

    def _facts(self) -> dict[str, Any]:
        """Returns what the summary says of the run besides its results."""
        config, training, duration = self.config, self.training, self.duration
        is_dst = not config.is_dense and not config.is_static
        sparsifiable = sum(weight.numel() for weight in sparsifiable_weights(training.model).values())
        density = training.sparsity.density if training.sparsity else 1.0
        return {
            "run_id": self.directory.run_id,
            "status": "diverged" if self.diverged else "finished",
            "model": config.model["name"],
            "dataset": config.dataset.name,
            "criterion": config.criterion["name"] if is_dst else None,
            "growth": config.growth["name"] if is_dst else None,
            "density": 1.0 if config.density.value is None else config.density.value,
            "update_period": config.update_period.steps if is_dst else None,
            "seed": config.seed,
            "epochs": training.epoch,
            "parameters_total": sum(parameter.numel() for parameter in training.model.parameters()),
            "parameters_sparsifiable": sparsifiable,
            "parameters_active": round(density * sparsifiable),
            "dense_parameters": sum(weight.numel() for weight in dense_weights(training.model).values()),
            "density_actual": density,
            "topology_updates": self.directory.count("topology.jsonl"),
            **self._flops(),
            "itop_ratio": training.sparsity.itop_ratio() if training.sparsity else 1.0,
            "duration_s": duration,
            "steps_per_s": training.step / duration,
            "device": device_name(training.device),
            "versions": {
                "dst": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "cuda": torch.version.cuda if training.device.type == "cuda" else None,
            },
            "code": self.code,
            "method": "dense" if config.is_dense else "static" if config.is_static else "dst",
            "best_epoch": training.best["epoch"],
            "data_fingerprint": training.data.fingerprint,
        }

    def _flops(self) -> dict[str, float]:
        """Returns the operations of inference, a sample at the final masks, and of the training so far."""
        data, sparsity = self.training.data, self.training.sparsity
        forward = count_forward(self.training.model, data.shape)
        history = density_history(sparsity, self.directory.read("topology.jsonl")) if sparsity else []
        needed = dense_gradients(sparsity) if sparsity else "never"
        return {
            "flops_inference": forward.at(history[-1][1]) if history else float(forward.total),
            "flops_training": training_flops(
                forward, data.train.seen, self.training.step, history, dense_gradients=needed
            ),
        }


def _in_short(metrics: dict[str, Any]) -> str:
    fraction = metrics["prune_fraction"]
    pruning = "" if fraction is None else f" ρ {fraction:.2f}"
    return (
        f"loss {metrics['train_loss']:.3f} acc {metrics['train_acc']:.3f} val {metrics['val_acc']:.3f} "
        f"density {metrics['density']:.2f}{pruning}"
    )
