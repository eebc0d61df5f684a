"""The sweeps of the paper's figures have the paper's numbers of runs, and overrides that compose."""

from __future__ import annotations

import re

import pytest
from omegaconf import OmegaConf

from dst.config import compose, run_id
from dst.config.tree import CONF_DIR, options
from launch.composition import compose_all
from launch.sweep import expand

RUNS = {
    "fig4": 40,
    "fig7": 385,
    "fig8": 110,
    "fig11": 450,
    "fig12": 1000,
    "fig12_lr0.01": 390,
    "fig13": 2320,
    "fig14": 1220,
    "fig15": 120,
    "fig16": 900,
}


@pytest.mark.parametrize(("name", "runs"), RUNS.items())
def test_a_figures_sweep_has_its_runs_each_once(name: str, runs: int) -> None:
    points = [point.overrides for point in expand(name)]
    assert len(points) == len(set(points)) == runs


def test_a_run_of_each_block_composes() -> None:
    blocks = {point.origin: point for name in RUNS for point in expand(name)}
    assert len(compose_all([point.overrides for point in blocks.values()])) == len(blocks) > 20


def test_updates_that_use_no_gradient_are_the_same_runs_whatever_their_batch_size() -> None:
    configs = compose_all([point.overrides for point in expand("fig13") if point.overrides[-1] == "seed=1"])
    assert len(configs) == 2320 / 5
    assert len(set(map(run_id, configs))) == 2100 / 5


def test_the_appendix_shares_its_main_runs_with_figures_1_and_5() -> None:
    shared = {"fig7": "criterion.lam=1,", "fig8": "criterion=rsensitivity", "fig15": "sparsity.scope=local"}
    main = {frozenset(point.overrides) for point in expand("fig1")}
    for name, setting in shared.items():
        point = next(point for point in expand(name) if setting in ",".join((*point.overrides, "")))
        values = [
            override for override in point.overrides if override not in ("criterion.lam=1", "sparsity.scope=local")
        ]
        assert frozenset(values) in main
        assert run_id(compose(values)) == run_id(compose(point.overrides))


def test_the_whole_paper_includes_every_figures_sweep() -> None:
    figures = {name for name in options("sweep") if re.fullmatch(r"fig\d+[ab]?", name)}
    included = {
        name for sweep in ("paper", "paper_all") for name in OmegaConf.load(CONF_DIR / f"sweep/{sweep}.yaml").include
    }
    assert figures <= included
