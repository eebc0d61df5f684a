"""Tables and figures of the gradient-flow paper, from the small sweep on digits, two epochs a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from analysis.collect import Collection, load_runs
from analysis.gradient_flow.curves import NORM_METHODS, gradient_norm
from analysis.gradient_flow.figures import FIGURES
from analysis.gradient_flow.methods import check_one_setting, paper_methods
from analysis.gradient_flow.published import published
from analysis.gradient_flow.study import Study, studies
from analysis.gradient_flow.tables import format_comparison, methods_table, similarity_table, with_difference
from analysis.models.pairs import summarise_pairs
from analysis.table import LAYOUTS
from dst.config import compose
from dst.errors import UserError
from dst.train import run

ROOT = Path(__file__).parents[2]
SWEEP = "gradient_flow_small"
TypeIn = Callable[..., tuple[int, str, str]]
Collect = Callable[..., Collection]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """An ``output_dir`` with the small sweep planned; trained are those runs that the tests need."""
    output_dir = tmp_path_factory.mktemp("gradient_flow")
    given = [f"output_dir={output_dir}", f"data_dir={data_dir}", "tracker=local", "device=cpu", "recipe.epochs=2"]
    command = [sys.executable, "-m", "launch", "plan", f"sweep={SWEEP}", *given]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL)
    for line in (output_dir / "sweeps" / SWEEP / "plan.jsonl").read_text().splitlines()[1:]:
        config = json.loads(line)["config"]
        if config["seed"] < 2 or config["procedure"]["name"] == "gradual" or str(config["weight_init"]["step"]) == "0":
            run(OmegaConf.create(config))
    return output_dir


@pytest.fixture
def study(small: Path, collected: Collect) -> Study:
    (found,) = studies(collected(small, sweep=SWEEP), {"device": "cpu"})
    return found


def named(output_dir: Path) -> dict[str, str]:
    runs = load_runs(output_dir)
    return dict(zip(runs["run_id"], paper_methods(runs.assign(parent=runs.get("parent"))), strict=True))


def test_each_run_of_the_sweep_has_its_method(small: Path, study: Study, collected: Collect) -> None:
    collection = collected(small, sweep=SWEEP)
    planned = pd.concat([collection.runs, collection.missing], ignore_index=True)
    counts = paper_methods(planned).value_counts().to_dict()
    twice = "Lottery,Prune restart,Scratch,Scratch+,RigL+,SET+,RigL Inverted+,Small Dense,Dense,Static,SNIP,GraSP"
    assert counts == {"Prune": 3, **dict.fromkeys(twice.split(","), 2)}
    pruned = study.runs[study.runs["run_id"] == study.pruned()]
    assert pruned[["paper_method", "seed"]].to_numpy().tolist() == [["Prune", 0]]


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ("update_period=5 growth=gradient", "RigL"),
        ("update_period=5 growth=random", "SET"),
        ("update_period=5 growth=gradient_inverted", "RigL Inverted"),
        ("update_period=5 growth=gradient weight_init=layer_scaled", None),
        ("update_period=5 criterion=snip growth=gradient", None),
        ("update_period=never weight_init=sparsity_aware", "Static+"),
        ("update_period=never initial_mask=synflow", None),
        ("density=dense", "Dense"),
        ("density=dense model.hidden=[12]", "Small Dense"),
        ("procedure=gradual update_period=5 criterion=snip", None),
    ],
)
def test_choices_name_the_method(
    choices: str, name: str | None, overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    run(compose(overrides("recipe.epochs=0", *choices.split())))
    assert set(named(tmp_path / "outputs").values()) == {name}


def test_a_run_from_another_parent_than_a_pruned_network_has_no_name(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    choices = ("parent=[update_period=5]", "initial_mask=parent", "update_period=never")
    child = run(compose(overrides("recipe.epochs=1", *choices)))
    assert named(tmp_path / "outputs") == {child["run_id"]: None, child["parent"]: "SET"}


def test_every_figure_is_drawn_and_named(small: Path, type_in: TypeIn, tmp_path: Path) -> None:
    where = (f"output_dir={small}", f"results_dir={tmp_path / 'results'}", "device=cpu", "reference=true")
    status, out, err = type_in("figures", "paper=gradient_flow", *where)
    assert (status, err) == (0, "")
    assert "nothing to draw" not in out
    assert "incomplete" not in out
    for name in FIGURES:
        image = np.asarray(Image.open(tmp_path / "results" / "figures" / f"{name}_small_mlp_digits.png").convert("RGB"))
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
        assert (tmp_path / "results" / "figures" / f"{name}_small_mlp_digits.pdf").stat().st_size > 5_000


def test_the_gradient_norm_is_the_mean_over_seeds_of_the_masked_norm(study: Study) -> None:
    drawing = gradient_norm(study)
    assert drawing is not None
    lines = {line.get_label(): line for line in drawing.figure.axes[0].lines}
    assert set(lines) == set(NORM_METHODS)
    logs = [Path(path, "probes", "gradient_flow.jsonl") for path in study.of("Lottery")["path"]]
    norms = [[json.loads(line)["masked"] for line in log.read_text().splitlines()] for log in logs]
    assert lines["Lottery"].get_ydata() == pytest.approx(np.mean(norms, axis=0))
    assert list(lines["Lottery"].get_xdata()) == [1, 5, 10, 15, 20]


def test_figures_say_which_runs_they_lack(small: Path, type_in: TypeIn, tmp_path: Path) -> None:
    where = (f"output_dir={small}", f"results_dir={tmp_path / 'results'}", "device=cpu")
    only = "where=initial_mask != 'parent' or weight_init == 'default'"
    status, out, _ = type_in("figures", "paper=gradient_flow", "fig=gradient_norm,update_effect,mds", only, *where)
    assert status == 0
    assert "gradient_norm of small_mlp/digits: incomplete: no finished runs of Lottery, RigL+, Scratch+\n" in out
    assert "update_effect of small_mlp/digits: nothing to draw: no finished runs of RigL or RigL+, SET or SET+" in out
    assert "mds of small_mlp/digits: incomplete: no finished runs of Lottery" in out
    status, out, _ = type_in("figures", "paper=gradient_flow", "fig=mds", "where=density == 1.0", *where)
    assert "nothing to draw: it needs a finished Prune run" in out
    status, out, err = type_in("figures", "paper=gradient_flow", "where=criterion == 'snip' or seed == 77", *where)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1


def test_the_methods_table_has_mean_and_deviation_over_the_seeds(study: Study) -> None:
    table = methods_table(study, "test_acc").set_index("method")
    values = study.of("Prune")["test_acc"]
    assert table.loc["Prune", ["mean", "std", "count"]].tolist() == [values.mean(), values.std(), 3]
    assert set(table.index) == set(study.runs["paper_method"])


def test_the_similarity_table_agrees_with_the_networks_pairs(study: Study) -> None:
    table = similarity_table(study).set_index(["method", "quantity"])
    lottery = study.children("Lottery")
    assert table.loc[("Lottery", "test accuracy"), "mean"] == pytest.approx(lottery["test_acc"].mean(), abs=1e-6)
    networks = [*study.networks(lottery["run_id"].tolist(), "Lottery"), *study.networks([study.pruned()], "Pruned")]
    from analysis.models.disagreement import disagreement
    from analysis.models.load import Place

    pairs, members = disagreement(networks, Place("cpu"))
    groups = summarise_pairs(pairs, {state.name: state.line for state in networks}, "disagreement")
    within, between = (
        groups[(groups["line"] == "Lottery") & (groups["other"] == other)] for other in ("Lottery", "Pruned")
    )
    assert table.loc[("Lottery", "disagreement"), "mean"] == within["mean"].item()
    assert table.loc[("Lottery", "disagreement with pruned"), ["mean", "count"]].tolist() == [between["mean"].item(), 2]
    assert table.loc[("Lottery", "ensemble accuracy"), "mean"] == members["ensemble"].iloc[0]
    assert ("Pruned solution", "disagreement") not in table.index
    assert table.loc[("Different pruned", "disagreement with pruned"), "count"] == 2


def test_published_numbers_stand_beside_those_of_the_papers_setup_and_density(study: Study) -> None:
    lenet = study.runs.assign(
        setup="lenet5/mnist", density=study.runs["density"].where(study.runs["method"] == "dense", 0.05)
    )
    there = Study("lenet5/mnist", lenet, study.results, study.given)
    table = methods_table(there, "test_acc").set_index("method")
    assert table.loc["Lottery", ["published", "published_std"]].tolist() == [0.9852, 0.0002]
    assert table.loc["Prune", "published"] == 0.983
    assert methods_table(there, "val_acc")["published"].isna().all()
    assert published("lenet5/mnist", {0.1}).similarity == {}
    assert published("lenet5/mnist", set()).interpolation["Scratch end"][0.5] == 1.848


def test_a_difference_of_two_deviations_lies_within_and_none_published_says_nothing() -> None:
    rows = [(0.97, 0.01), (0.9701, 0.01), (0.95, None), (None, None)]
    frame = with_difference(
        pd.DataFrame(
            [("s", "Lottery", "q", 0.95, 0.1, 5, mean, std) for mean, std in rows],
            columns=["setup", "method", "quantity", "mean", "std", "count", "published", "published_std"],
        )
    )
    assert frame["within_two_std"].astype(object).where(frame["within_two_std"].notna(), "none").tolist() == [
        True,
        False,
        "none",
        "none",
    ]
    assert frame["difference"].iloc[0] == pytest.approx(-0.02)
    text = format_comparison(frame, "text").splitlines()
    assert [re.split(r"  +", line)[-3:] for line in text[1:3]] == [
        ["97.00 ± 1.00", "-2.00", "yes"],
        ["97.01 ± 1.00", "-2.01", "no"],
    ]


def test_tables_are_written_in_every_layout(small: Path, type_in: TypeIn, tmp_path: Path) -> None:
    where = (f"output_dir={small}", f"sweep={SWEEP}", f"results_dir={tmp_path}", "device=cpu")
    for layout in LAYOUTS:
        status, out, _ = type_in("table", "paper=gradient_flow", "table=methods", f"layout={layout}", *where)
        assert status == 0
        assert "RigL Inverted+" in out
    for suffix in ("txt", "md", "tex", "csv"):
        assert "Small Dense" in (tmp_path / SWEEP / f"gradient_flow_methods.{suffix}").read_text()


def test_runs_of_two_settings_are_not_averaged(small: Path, study: Study) -> None:
    runs = study.runs.copy()
    runs.loc[runs.index[runs["paper_method"] == "Lottery"][0], "recipe_lr"] = 0.5
    with pytest.raises(UserError, match=r"runs of Lottery differ in recipe\.lr \(0\.5, 0\.1\)|\(0\.1, 0\.5\)"):
        check_one_setting(runs)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("figures", "paper=rigl"), "paper=rigl: unknown; choose one of fantastic_weights, gradient_flow"),
        (("figures", "paper=gradient_flow", "fig=1"), "fig=1: unknown; choose one of all, help, gradient_norm"),
        (("table", "table=methods"), "table=methods: only with paper=gradient_flow"),
        (("figures", "device=cpu"), "device=cpu: only with paper=gradient_flow"),
        (("table", "paper=gradient_flow", "table=x"), "table=x: unknown; choose one of all, methods, similarity"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], told: str, type_in: TypeIn) -> None:
    status, out, err = type_in(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1
