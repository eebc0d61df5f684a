"""A Weights & Biases report that compares criteria across densities, with panels that update with new runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import wandb_workspaces.reports.v2 as wr

from dst.errors import UserError

from .collect import collect
from .compare import REFERENCE_LINES
from .results_folder import ResultsFolder
from .source import Source
from .style import growth_title, setup_title

TITLE = "Where to prune in dynamic sparse training"
_GROWTHS = ("random", "gradient")
_DENSITY, _PERIOD, _CRITERION = "density.value", "update_period.value", "criterion.value"
"""W&B's names of the config columns from ``dst.run.tracker.columns``."""
_COLUMNS = (
    *("run:name", "run:state", "run:jobType", "config:model.value", "config:dataset.value"),
    *(f"config:{key}" for key in (_CRITERION, "growth.value", _DENSITY, _PERIOD, "seed.value")),
    *("summary:test_acc", "summary:test_acc_best_val", "summary:val_acc", "summary:itop_ratio", "summary:duration_s"),
)
_REFERENCE = str(list(REFERENCE_LINES))

Panels = list[tuple[str, str]]
"""Pairs of setup and growth."""


def save_dashboard(source: Source, *, dry_run: bool = False) -> str:
    """Saves the report to W&B, or its specification to a file.

    Args:
        source: the runs; its ``entity`` and ``project`` name the W&B project.
        dry_run: write ``dashboard.json`` into the results folder instead of contacting W&B.

    Returns:
        The report's URL, or a message with the file's path.

    Raises:
        UserError: without an entity, or if W&B rejects the report.
    """
    if not source.entity:
        raise UserError("entity: say whose W&B project it is: entity=… project=…")
    report = build_dashboard(source.entity, source.project, _find_panels(source))
    if dry_run:
        return f"specification in {_write_spec(report, ResultsFolder(source.results))}"
    try:
        report.save()
    except Exception as error:  # wandb raises many kinds, and a bare Exception where nobody is logged in
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"entity={source.entity} project={source.project}: W&B did not take the report ({reason}); try "
            "dry_run=true, or log in with: wandb login"
        ) from error
    return str(report.url)


def build_dashboard(entity: str, project: str, panels: Panels) -> wr.Report:
    """Builds the report: accuracy, update period and learning curves of each setup and growth; a table of runs.

    Args:
        entity: the user or team that owns the project.
        project: of W&B.
        panels: pairs of setup and growth, one section each.
    """
    blocks: list[Any] = [
        wr.P("Every panel shows the runs there are by now. A point is the mean over the seeds of a group."),
        wr.TableOfContents(),
    ]
    for setup in dict.fromkeys(setup for setup, _ in panels):
        blocks.append(wr.H1(setup_title(setup)))
        for growth in [growth for of, growth in panels if of == setup]:
            blocks += [wr.H2(growth_title(growth).capitalize()), *_setup_blocks(setup, growth)]
    blocks += [
        wr.H1("Runs"),
        wr.PanelGrid(runsets=[_runset("all runs", [])], panels=[wr.RunComparer(diff_only="split")]),
    ]
    return wr.Report(entity=entity, project=project, title=TITLE, blocks=blocks, width="fluid")


def _setup_blocks(setup: str, growth: str) -> list[Any]:
    """Returns three panel grids: by density, by update period, and learning curves."""
    model, _, dataset = setup.partition("/")
    here = [f"Config('model.value') == '{model}'", f"Config('dataset.value') == '{dataset}'"]
    dynamic = [*here, f"Metric('JobType') not in {_REFERENCE}", f"Config('growth.value') == '{growth}'"]
    reference = [*here, f"Metric('JobType') in {_REFERENCE}"]

    def grid(key: str, *panels: Any) -> wr.PanelGrid:
        groups = [f"config.{key}"] if key else []
        runsets = [
            _runset(growth_title(growth), dynamic, [f"config.{_CRITERION}", *groups]),
            _runset("dense and static", reference, ["run.jobType", *groups]),
        ]
        return wr.PanelGrid(runsets=runsets, panels=list(panels))

    density, period = wr.Config("density"), wr.Config("update_period")
    return [
        grid(
            _DENSITY,
            _scatter("Test accuracy versus density", density, "test_acc", 0),
            _scatter("Test accuracy at the best validation epoch versus density", density, "test_acc_best_val", 1),
        ),
        grid(
            _PERIOD,
            _scatter("Validation accuracy versus update period", period, "val_acc", 0),
            _scatter("ITOP ratio versus update period", period, "itop_ratio", 1),
        ),
        grid("", _curve("Validation accuracy", "val_acc", 0), _curve("Training loss", "train_loss", 1)),
    ]


def _runset(name: str, filters: Sequence[str], groups: Iterable[str] = ()) -> wr.Runset:
    return wr.Runset(
        name=name,
        filters=" and ".join(filters),
        groupby=list(groups),
        visible_columns=list(_COLUMNS),
    )


def _scatter(title: str, x: wr.Config, summary: str, place: int) -> wr.ScatterPlot:
    return wr.ScatterPlot(title=title, x=x, y=wr.SummaryMetric(summary), log_x=True, layout=_half_width(place))


def _curve(title: str, metric: str, place: int) -> wr.LinePlot:
    return wr.LinePlot(
        title=title,
        x="epoch",
        y=[metric],
        groupby="JobType",  # the criterion, dense or static
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=100,
        layout=_half_width(place),
    )


def _half_width(place: int) -> wr.Layout:
    """Returns the left (0) or right (1) half of W&B's 24-column grid."""
    return wr.Layout(x=12 * place, y=0, w=12, h=10)


def _find_panels(source: Source) -> Panels:
    """Returns the setups and growths of the runs and the plan; those of the paper if there are none."""
    try:
        collection = collect(source)
    except UserError:
        return [(setup, growth) for setup in _paper_setups() for growth in _GROWTHS]
    rows = [frame[["setup", "growth"]].dropna() for frame in (collection.runs, collection.missing)]
    found = sorted({tuple(pair) for frame in rows for pair in frame.to_numpy()})
    return found or [(setup, growth) for setup in _paper_setups() for growth in _GROWTHS]


def _paper_setups() -> list[str]:
    from .figures.accuracy import APPENDIX, MAIN

    return [*MAIN, *APPENDIX]


def _write_spec(report: wr.Report, results: ResultsFolder) -> Path:
    model = report._to_model()  # the library has no public method for the specification
    spec = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    return results.write_text("dashboard.json", json.dumps(spec, indent=1) + "\n")
