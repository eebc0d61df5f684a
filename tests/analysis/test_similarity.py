"""Jaccard indices of the criteria, against slow computations of the same from the files of runs."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import statistics
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from analysis.collect import Collection, collect
from analysis.figures import FIGURES, draw
from analysis.figures.canvas import FigureData
from analysis.figures.jaccard import figure_19
from analysis.similarity.matrices import Matrix, end_matrices, first_update_matrices, over_training, shared_shares
from analysis.similarity.sets import jaccard
from analysis.source import Source
from analysis.table import format_table
from dst.config import compose
from dst.probes.bits import to_number
from dst.train import run

FIGURE_NAMES = ("6a", "6b", "17", "18", "19", "20", "21")
COMMON = ("dataset=digits", "model=small_mlp", "model.hidden=[32]", "device=cpu", "tracker=local", "probes=jaccard")
FIRST = ("update_period=3", "probes.jaccard.every=first", "probes.jaccard.stop=true", "probes.jaccard.criteria=[]")
WHOLE = ("growth=gradient", "update_period=4", "recipe.epochs=2", "probes.jaccard.every=8")
CRITERIA = ("magnitude", "snip", "random")
SEEDS = (1, 2)

Slow = dict[str, dict[int, dict[str, set[int]]]]
"""Sets of positions by criterion, seed and layer."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Collection:
    """Three criteria with two seeds: runs that end at their first update with two prune fractions, and whole ones."""
    folder = tmp_path_factory.mktemp("similarity")
    places = (f"data_dir={data_dir}", f"output_dir={folder / 'outputs'}")
    for criterion, seed in itertools.product(CRITERIA, SEEDS):
        chosen = (*COMMON, *places, f"criterion={criterion}", f"seed={seed}", "density=d0.2")
        run(compose([*chosen, *WHOLE]))
        for fraction in (0.5, 0.25):
            run(compose([*chosen, *FIRST, f"prune_fraction.initial={fraction}"]))
    return collect(Source(output_dir=folder / "outputs", results_dir=folder / "results"))


def positions(text: str) -> set[int]:
    content = zlib.decompress(base64.b64decode(text))
    return {8 * place + bit for place, byte in enumerate(content) for bit in range(8) if byte >> bit & 1}


def slow_sets(runs: Any, key: str, step: int | None) -> Slow:
    """Reads the sets of the record of a step, or the masks at the end, without the code under test."""
    found: Slow = {}
    for each in runs.itertuples():
        if step is None:
            masks = torch.load(Path(each.path) / "masks.pt")
            sets = {name: set(mask.flatten().nonzero()[:, 0].tolist()) for name, mask in masks.items()}
        else:
            lines = map(json.loads, (Path(each.path) / "probes" / "jaccard.jsonl").read_text().splitlines())
            (layers,) = [line["layers"] for line in lines if line["step"] == step]
            sets = {name: positions(of[key]) for name, of in layers.items()}
        found.setdefault(each.criterion, {})[each.seed] = sets
    return found


def slow_index(one: dict[str, set[int]], other: dict[str, set[int]]) -> list[float]:
    return [len(one[layer] & other[layer]) / len(one[layer] | other[layer]) for layer in one]


def cell(matrix: Matrix, value: str, one: str, other: str) -> float:
    return float(getattr(matrix, value)[matrix.names.index(one), matrix.names.index(other)])


def test_the_index_is_that_of_sets_of_positions() -> None:
    for seed in range(20):
        masks = torch.rand(2, 3, 37, generator=torch.Generator().manual_seed(seed)) < 0.05 * seed
        one, other = ({str(i): to_number(mask) for i, mask in enumerate(layers)} for layers in masks)
        slow = [[set(mask.nonzero()[:, 0].tolist()) for mask in layers] for layers in masks]
        expected = [len(a & b) / len(a | b) if a | b else 1 for a, b in zip(*slow, strict=True)]
        assert jaccard(one, other).tolist() == expected


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.125, 0.0625])
def test_the_index_of_random_sets_is_p_over_two_minus_p(fraction: float) -> None:
    size, stream = 100_000, torch.Generator().manual_seed(1)
    sets = [to_number(torch.rand(size, generator=stream).argsort() < fraction * size) for _ in range(2)]
    error = (2 / (size * fraction)) ** 0.5  # of the shared share, generously
    assert jaccard({"": sets[0]}, {"": sets[1]})[0] == pytest.approx(fraction / (2 - fraction), abs=3 * error)


@pytest.mark.parametrize("fraction", [0.5, 0.25])
def test_at_the_first_update_seeds_are_averaged_before_layers(study: Collection, fraction: float) -> None:
    runs = study.runs
    here = runs[runs["probes_jaccard_stop"].eq(True) & (runs["prune_fraction_initial"] == fraction)]
    slow = slow_sets(here, "removed", 3)
    (matrix,) = [m for m in first_update_matrices(runs)[0] if m.prune_fraction == fraction]
    assert matrix.names == [*CRITERIA]
    assert matrix.seeds == 2
    for one, other in itertools.product(CRITERIA, CRITERIA):
        layers = list(zip(*(slow_index(slow[one][seed], slow[other][seed]) for seed in SEEDS), strict=True))
        assert cell(matrix, "mean", one, other) == pytest.approx(statistics.mean(map(statistics.mean, layers)))
        assert cell(matrix, "std", one, other) == pytest.approx(statistics.mean(map(statistics.stdev, layers)))
    pairs = [slow_index(slow["random"][a], slow["random"][b]) for a, b in itertools.combinations(SEEDS, 2)]
    assert matrix.chance == pytest.approx(statistics.mean(map(statistics.mean, pairs)))


def test_prune_fractions_of_a_single_criterion_are_not_mixed(study: Collection) -> None:
    matrices, _ = first_update_matrices(study.runs[study.runs["criterion"] == "magnitude"])
    assert [(matrix.prune_fraction, matrix.names, matrix.seeds) for matrix in matrices] == [
        (0.25, ["magnitude"], 2),
        (0.5, ["magnitude"], 2),
    ]


def test_at_the_end_layers_are_averaged_before_seeds_and_the_initial_masks_are_a_row(study: Collection) -> None:
    whole = study.runs[study.runs["probes_jaccard_stop"].isna()]
    slow = slow_sets(whole, "", None)
    slow["init"] = slow_sets(whole[whole["criterion"] == "snip"], "active", 1)["snip"]
    (matrix,) = end_matrices(study.runs)[0]
    assert matrix.names == [*CRITERIA, "init"]
    for one, other in itertools.combinations(matrix.names, 2):
        seeds = [statistics.mean(slow_index(slow[one][seed], slow[other][seed])) for seed in SEEDS]
        assert cell(matrix, "mean", one, other) == pytest.approx(statistics.mean(seeds))
        assert cell(matrix, "std", one, other) == pytest.approx(statistics.stdev(seeds))
    pairs = [slow_index(slow["init"][a], slow["init"][b]) for a, b in itertools.combinations(SEEDS, 2)]
    assert matrix.chance == pytest.approx(statistics.mean(map(statistics.mean, pairs)))


def test_over_training_the_own_criterion_is_compared_with_the_others_in_its_state(study: Collection) -> None:
    whole = study.runs[study.runs["probes_jaccard_stop"].isna()]
    found = over_training(study.runs).set_index(["criterion", "other", "step"])
    assert {step for *_, step in found.index} == {8, 16}
    assert ("snip", "snip", 8) not in found.index
    own = slow_sets(whole, "removed", 16)["snip"]
    other = slow_sets(whole[whole["criterion"] == "snip"], "magnitude", 16)["snip"]
    seeds = [statistics.mean(slow_index(own[seed], other[seed])) for seed in SEEDS]
    row = found.loc[("snip", "magnitude", 16)]
    assert (row["mean"], row["std"], row["seeds"]) == (
        pytest.approx(statistics.mean(seeds)),
        pytest.approx(statistics.stdev(seeds)),
        2,
    )


def test_shares_count_what_all_criteria_keep_and_what_none_keeps(study: Collection) -> None:
    whole = study.runs[study.runs["probes_jaccard_stop"].isna()]
    slow = slow_sets(whole, "", None)
    found = shared_shares(study.runs).set_index("seed")
    for seed in SEEDS:
        masks = [slow[criterion][seed] for criterion in CRITERIA]
        active = sum(map(len, masks[0].values()))
        kept = sum(len(set.intersection(*(mask[layer] for mask in masks))) for layer in masks[0])
        ever = sum(len(set.union(*(mask[layer] for mask in masks))) for layer in masks[0])
        size = 64 * 32 + 32 * 10
        assert found.loc[seed, "kept"] == pytest.approx(kept / active)
        assert found.loc[seed, "removed"] == pytest.approx((size - ever) / (size - active))


def test_different_growths_and_periods_are_not_mixed(study: Collection) -> None:
    runs = study.runs[study.runs["probes_jaccard_stop"].isna()]
    mixed = pd.concat([runs, runs.assign(growth="random")], ignore_index=True)
    setups = [matrix.setup for matrix in end_matrices(mixed)[0]]
    assert setups == ["small_mlp/digits, growth=gradient", "small_mlp/digits, growth=random"]


def test_runs_that_end_at_their_first_update_hide_no_other_setup(study: Collection) -> None:
    runs = study.runs
    whole = runs[runs["probes_jaccard_stop"].isna() & (runs["update_period"] == 4)]
    first = runs[runs["probes_jaccard_stop"].eq(True)]
    other = first.assign(setup="small_mlp/other", probes_jaccard_stop=None)
    matrices, notes = first_update_matrices(pd.concat([whole, first, other], ignore_index=True))
    assert {matrix.setup.partition(",")[0] for matrix in matrices} == {"small_mlp/digits", "small_mlp/other"}
    assert not notes


def test_accuracies_of_runs_that_end_at_their_first_update_are_left_out(study: Collection) -> None:
    whole = study.runs[study.runs["probes_jaccard_stop"].isna()]
    note = "\nNote: 12 runs that ended at their first topology update are left out."
    assert format_table(study.runs, "text") == format_table(whole, "text") + note
    outcome = draw(FIGURES["22"], study, "test_acc")
    assert outcome.paths
    assert not draw(FIGURES["22"], replace(study, runs=study.runs.drop(whole.index)), "test_acc").paths


def test_the_papers_shares_stand_in_figure_19(study: Collection) -> None:
    named = study.runs.assign(setup="large_mlp/cifar10")
    data = FigureData(named, study.missing, lambda: study.epochs, reference=True)
    (drawing,) = figure_19(data)
    (mark,) = [line for line in drawing.figure.axes[0].lines if line.get_marker() == "+"]
    assert mark.get_ydata() == [pytest.approx(23)]
    assert "+ is what the paper's text says, of the share kept." in drawing.caption
    assert not any("paper" in line for line in figure_19(replace(data, reference=False))[0].caption)


@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_its_figures_are_drawn(name: str, study: Collection) -> None:
    outcome = draw(FIGURES[name], study, "test_acc")
    assert {path.suffix for path in outcome.paths} == {".pdf", ".png"}
    assert all(path.stat().st_size > 5000 for path in outcome.paths)


def test_the_command_prints_the_matrices_and_writes_the_tables(
    study: Collection, type_in: Callable[..., tuple[int, str, str]]
) -> None:
    root = study.results.folder.parent
    status, out, _ = type_in("jaccard", f"output_dir={root / 'outputs'}", f"results_dir={root / 'results'}")
    assert status == 0
    (matrix,) = end_matrices(study.runs)[0]
    assert f"{cell(matrix, 'mean', 'snip', 'magnitude'):.3f}" in out.partition("end of training")[2]
    kept = 100 * shared_shares(study.runs)["kept"]
    assert f": all 3 criteria keep {kept.mean():.1f} ± {kept.std():.1f} % of the active weights" in out
    with (study.results.folder / "jaccard_first_update.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 6
    assert {row["seeds"] for row in rows} == {"2"}


def test_one_seed_has_no_random_sets_to_compare_with(
    study: Collection, type_in: Callable[..., tuple[int, str, str]]
) -> None:
    root = study.results.folder.parent
    folders = (f"output_dir={root / 'outputs'}", f"results_dir={root / 'one_seed'}")
    _, out, _ = type_in("jaccard", *folders, "where=seed == 1")
    heads = [line for line in out.splitlines() if line.startswith("end of training")]
    assert heads
    assert all(line.endswith(", one seed") for line in heads)


def test_a_damaged_record_is_passed_over(study: Collection, caplog: pytest.LogCaptureFixture) -> None:
    runs = study.runs[study.runs["probes_jaccard_stop"].isna()]
    path = Path(runs["path"].iloc[0]) / "probes" / "jaccard.jsonl"
    sound = path.read_text()
    lines = sound.splitlines()
    broken = json.loads(lines[1])
    next(iter(broken["layers"].values()))["removed"] = "AAAA"
    path.write_text("\n".join([lines[0], json.dumps(broken), lines[2]]) + "\n")
    before = over_training(runs)["seeds"].min()
    path.write_text(sound)
    assert before == 1
    assert "passed over what is damaged: step 8" in caplog.text
