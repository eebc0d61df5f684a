from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from omegaconf import open_dict

from analysis import style
from analysis.collect import Collection
from analysis.compare import select_comparable, select_update_period
from analysis.figures import FIGURES, FigureData, draw
from analysis.figures.accuracy import figure_22
from analysis.figures.periods import cells_with_several_periods
from analysis.report.findings import findings
from analysis.style import colors
from analysis.table import format_table
from dst.config import compose, overrides, run_id, tree
from dst.config.components import build
from dst.errors import UserError

Collect = Callable[..., Collection]
DRAWN = ("1", "3", "4", "5", "11", "22", "curves")
NOT_DRAWN = (*("2", "6a", "6b", "7", "8", "10", *map(str, range(12, 22)), *map(str, range(23, 31))),)


@pytest.fixture
def study(trained: Path, collected: Collect) -> Collection:
    return collected(trained, sweep="tiny")


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_with_runs_is_drawn_as_pdf_and_png(name: str, study: Collection) -> None:
    outcome = draw(FIGURES[name], study, "test_acc")
    starts = {".pdf": b"%PDF", ".png": b"\x89PNG"}
    assert sorted(path.suffix for path in outcome.paths) == [".pdf", ".png"]
    for path in outcome.paths:
        assert path.parent == study.results.folder / "figures"
        assert path.read_bytes().startswith(starts[path.suffix])
        assert path.stat().st_size > 5000
    assert all(str(path) in outcome.lines[0] for path in outcome.paths)


@pytest.mark.parametrize("name", NOT_DRAWN)
def test_a_figure_without_runs_prints_what_it_needs(name: str, study: Collection) -> None:
    outcome = draw(FIGURES[name], study, "test_acc")
    assert outcome.paths == []
    assert outcome.lines == [f"figure {name}: nothing to draw, it needs {FIGURES[name].needs}"]


def test_the_catalogue_has_the_figures_of_the_paper() -> None:
    assert set(FIGURES) == {*DRAWN, *NOT_DRAWN}
    assert {"6a", "6b", *(str(number) for number in range(1, 31) if number not in (6, 9))} <= set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_accepts_an_empty_study(name: str, study: Collection) -> None:
    nothing = FigureData(study.runs.iloc[:0], study.missing, lambda: study.epochs.iloc[:0])
    assert FIGURES[name].draw(nothing) == []


def material(collection: Collection) -> FigureData:
    return FigureData(collection.runs, collection.missing, lambda: collection.epochs)


def test_accuracy_is_the_mean_over_runs_on_a_log_axis_with_dense_as_a_dashed_line(study: Collection) -> None:
    drawing = figure_22(material(study))[0]
    random = next(axes for axes in drawing.figure.axes if "random growth" in axes.get_title())
    assert random.get_xscale() == "log"
    dense = study.runs.loc[study.runs["method"] == "dense", "test_acc"].mean()
    dashed = [line for line in random.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [pytest.approx(100 * dense)]
    runs = study.runs[(study.runs["growth"] == "random") & (study.runs["update_period"] == 10)]
    for criterion in ("magnitude", "snip"):
        means = runs[runs["criterion"] == criterion].groupby("density")["test_acc"].mean()
        line = next(line for line in random.lines if line.get_color() == colors([criterion])[criterion])
        assert np.asarray(line.get_ydata(), dtype=float) == pytest.approx(100 * means.to_numpy())
        assert np.asarray(line.get_xdata()) == pytest.approx(means.index.to_numpy(), rel=0.05)


def test_missing_runs_are_named_in_the_caption(outputs: Path, collected: Collect) -> None:
    runs = collected(outputs, sweep="tiny").runs
    gone = runs[(runs["criterion"] == "snip") & (runs["growth"] == "random") & (runs["density"] == 0.1)]
    for path in gone["path"]:
        shutil.rmtree(path)
    caption = " ".join(figure_22(material(collected(outputs, sweep="tiny")))[0].caption)
    assert f"Missing: {len(gone)} planned runs ({len(gone)} SNIP)" in caption
    assert "Points without runs: SNIP lacks 1." in caption


def test_points_below_the_axis_are_labeled(study: Collection) -> None:
    runs = study.runs.assign(test_acc=0.9 + study.runs["seed"].astype(float) / 1000)
    runs.loc[(runs["method"] == "static") & (runs["density"] == 0.1), "test_acc"] = 0.2
    drawing = figure_22(FigureData(runs, study.missing, lambda: study.epochs))[0]
    assert any("▼" in sentence for sentence in drawing.caption)
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == ["▼20"]


def test_a_criterion_has_the_same_color_in_every_figure() -> None:
    everything = colors(["dense", "static", "magnitude", "set", "mest", "snip", "rsensitivity", "random", "mine"])
    assert len(set(everything.values())) == 9
    for method, color in everything.items():
        assert colors([method])[method] == color


# Viénot, Brettel and Mollon (1999): what a dichromat sees of linear RGB
DICHROMATS = {
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_color_blind_readers_can_tell_the_papers_criteria_apart(kind: str) -> None:
    palette = colors(["static", "magnitude", "set", "mest", "snip", "rsensitivity"])
    linear = {name: np.array(to_rgb(color)) ** 2.2 for name, color in palette.items()}
    seen = {name: np.clip(np.array(DICHROMATS[kind]) @ rgb, 0, 1) ** (1 / 2.2) for name, rgb in linear.items()}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in itertools.combinations(seen, 2)}
    assert min(distances.values()) > 0.1, min(distances, key=distances.__getitem__)


def test_error_bars_are_the_standard_deviation_over_seeds(study: Collection) -> None:
    runs = study.runs.copy()
    chosen = (runs["criterion"] == "snip") & (runs["density"] == 0.1) & (runs["growth"] == "random")
    chosen &= runs["update_period"] == 10
    runs.loc[chosen, "test_acc"] = [0.5, 0.7]
    axes = figure_22(FigureData(runs, study.missing, lambda: pd.DataFrame()))[0].figure.axes[0]
    color = colors(["snip"])["snip"]
    bars = next(bars for bars in axes.collections if tuple(bars.get_color()[0][:3]) == to_rgb(color))
    (_, low), (_, high) = bars.get_segments()[0]
    assert (low, high) == (pytest.approx(60 - 14.142, abs=0.01), pytest.approx(60 + 14.142, abs=0.01))


@pytest.fixture
def own_criterion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The YAML of a user-defined criterion, in a copy of ``conf``."""
    conf = Path(shutil.copytree(style.CONF_DIR, tmp_path / "conf"))
    monkeypatch.setattr(style, "CONF_DIR", conf)
    monkeypatch.setattr(overrides, "CONF_DIR", conf)
    monkeypatch.setattr(tree, "CONF_DIR", conf)
    style._declared.cache_clear()
    path = conf / "criterion" / "movement.yaml"
    path.write_text("_target_: dst.sparsity.SNIP\nname: movement\nlabel: Movement (ours)\ncolor: '#123456'\n")
    yield path
    style._declared.cache_clear()


def test_label_and_color_of_a_criterion_come_from_its_yaml(own_criterion: Path, study: Collection) -> None:
    runs = study.runs.assign(criterion=study.runs["criterion"].replace("snip", "movement"))
    drawing = figure_22(FigureData(runs, study.missing, lambda: study.epochs))[0]
    assert "Movement (ours)" in [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert {"#123456"} <= {line.get_color() for line in drawing.figure.axes[0].lines}
    assert "Movement (ours)" in format_table(runs, "text")
    chosen = select_comparable(runs)
    assert "Movement (ours) at" in " ".join(
        findings(select_update_period(chosen).runs, cells_with_several_periods(chosen), {})[1]
    )


def test_label_and_color_of_a_criterion_do_not_change_the_run_id(own_criterion: Path) -> None:
    plain = compose(["criterion=movement"])
    with open_dict(plain):
        del plain.criterion.label, plain.criterion.color
    assert run_id(plain) == run_id(compose(["criterion=movement"]))
    assert type(build("criterion", compose(["criterion=movement"]).criterion)).__name__ == "SNIP"


def test_an_unquoted_color_is_reported_in_one_line(own_criterion: Path) -> None:
    own_criterion.write_text("_target_: dst.sparsity.SNIP\nname: movement\ncolor: #123456\n")
    with pytest.raises(UserError, match=r"criterion/movement\.yaml: color: .*: write such as color: '#1b4d3e'"):
        colors(["movement"])


def test_a_line_keeps_its_color_from_panel_to_panel() -> None:
    alone = [colors([name])[name] for name in ("own_b", "own_a")]
    assert [colors(["own_a", "own_b"])[name] for name in ("own_b", "own_a")] == alone
    assert len(set(alone)) == 2


def on_imagenet(study: Collection) -> FigureData:
    runs = study.runs.assign(dataset="imagenet", setup="small_mlp/imagenet")
    return FigureData(runs, study.missing, lambda: study.epochs)


def test_figure_2_has_one_row_per_density_and_growth(study: Collection) -> None:
    (drawing,) = FIGURES["2"].draw(on_imagenet(study))
    axes = drawing.figure.axes
    assert [panel.get_title() for panel in axes[::2]] == ["density 0.1", "density 0.1", "density 0.2", "density 0.2"]
    assert {panel.get_ylabel() for panel in axes[1::2]} == {"training loss"}
    curves = study.epochs.merge(study.runs[study.runs["criterion"] == "snip"], on="run_id")
    curves = curves[(curves["density_y"] == 0.2) & (curves["growth"] == "gradient") & (curves["update_period"] == 10)]
    line = next(line for line in axes[6].lines if line.get_color() == colors(["snip"])["snip"])
    assert np.asarray(line.get_ydata()) == pytest.approx(100 * curves.groupby("epoch")["val_acc_x"].mean().to_numpy())


@pytest.mark.parametrize("name", ["1", "2", "4", "22", "curves"])
def test_a_further_choice_that_varies_has_one_panel_or_figure_per_value(name: str, study: Collection) -> None:
    given = on_imagenet(study)
    runs = given.runs.assign(recipe_lr=given.runs["seed"].map({1: 0.1, 2: 0.02}).astype(float))
    drawings = FIGURES[name].draw(FigureData(runs, given.missing, given.epochs))
    said = " ".join([*(axes.get_title() for one in drawings for axes in one.figure.axes)]
                    + [sentence for one in drawings for sentence in one.caption])  # fmt: skip
    assert "recipe.lr=0.02" in said
    assert "recipe.lr=0.1" in said
    assert len({one.suffix for one in drawings}) == len(drawings)


def test_runs_left_out_are_noted_in_the_caption(study: Collection) -> None:
    runs = study.runs.assign(recipe_lr=study.runs["seed"].map({1: 0.1, 2: 0.02}).astype(float))
    runs["recipe_weight_decay"] = np.where(np.arange(len(runs)) < 13, 0.0, 0.1)
    runs = pd.concat([runs, study.runs.assign(setup="other/digits", run_id=study.runs["run_id"] + "x")])
    drawing = figure_22(FigureData(runs, study.missing, lambda: study.epochs))[0]
    nothing = Collection(runs[runs["setup"] != "other/digits"], study.missing, study.results, "here")
    assert draw(FIGURES["22"], nothing, "test_acc").lines == [
        "figure 22: nothing to draw, it needs finished runs (26 runs are left out; python -m analysis table says why)"
    ]
    assert "26 runs of small_mlp/digits are left out, as more than one choice varies" in " ".join(drawing.caption)
