"""The commands on trained networks, such as ``interpolate``: compute or recall, write tables, draw, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import pandas as pd

from dst.errors import UserError

from ..arguments import choice, file_name, positive_integer
from ..collect import Collection
from ..figures import save
from ..figures.canvas import STYLE
from ..figures.networks import disagreement_figure, interpolation_figure, plane_figure, spectrum_figure
from ..style import label
from ..text_table import aligned
from .measured import between_phases, distances_between, interpolated, predictions_compared, spectra_of
from .pairs import distance_matrix, scale, summarise_pairs
from .states import Selection, check_same, phase_ends, select_states

if TYPE_CHECKING:
    from .load import Place

INTERPOLATION = {
    "mask": ("none", "start", "end", "both"),
    "batch_norm": ("keep", "reestimate"),
    "split": ("both", "train", "test"),
}
"""Options of ``interpolate``, the first of each by default; see :class:`analysis.models.interpolate.Line`."""


def interpolate_networks(collection: Collection, own: dict[str, str]) -> str:
    """Interpolates from each network to the last one named, or to ``to``; returns the text to print.

    With ``phases=true`` it goes from the end of each phase of the runs to that of the next one.

    Args:
        collection: of the runs.
        own: the shared keys, ``to``, ``phases`` and those of :data:`INTERPOLATION`.
    """
    options = {key: choice(own, key, valid) for key, valid in INTERPOLATION.items()}
    along = choice(own, "phases", ("false", "true")) == "true"
    name, how = file_name(own, "interpolation"), f"mask: {options['mask']}, batch norm: {options['batch_norm']}."
    if along:
        starts = _ends_of_phases(collection, own)
        found = between_phases(collection.results, starts.states, options, own)
        about = f"From the end of each phase (α = 0) to that of the next one (α = 1); {how}"
    else:
        starts, to = _starts_and_end(collection, own)
        check_same(collection.runs, starts.run_ids | to.run_ids, "model", "dataset")
        found = interpolated(collection.results, starts.states, to.states[0], options, own)
        about = f"From each start (α = 0) to {to.states[0].name} (α = 1); {how}"
    points, barriers = found["points"], found["barriers"]
    with matplotlib.rc_context(STYLE):
        drawn = save(interpolation_figure(points, starts.lines, about, starts.notes), name, collection.results)
    written = [
        collection.results.write_csv(f"{name}.csv", points),
        collection.results.write_csv(f"{name}_barriers.csv", barriers),
    ]
    rows = [
        [label(starts.lines[row.start]), row.start, row.end, row.split]
        + [f"{loss:.4f}" for loss in (row.loss_start, row.loss_end, row.barrier)]
        + [_percent(accuracy) for accuracy in (row.accuracy_start, row.accuracy_end)]
        for row in barriers.itertuples()
    ]
    head = ("line", "start", "end", "split", "loss start", "loss end", "barrier", "acc start", "acc end")
    return _said([aligned(head, rows, texts=4), about], starts, [*written, *drawn])


def compare_predictions(collection: Collection, own: dict[str, str]) -> str:
    """Compares predictions within and between lines of networks, and ensembles; returns the text to print.

    Args:
        collection: of the runs.
        own: the shared keys and ``group``.
    """
    name, selection = file_name(own, "disagreement"), _two_or_more(collection, own)
    check_same(collection.runs, selection.run_ids, "model", "dataset")
    lines = selection.lines

    pairs, members = predictions_compared(collection.results, selection.states, own)
    groups = summarise_pairs(pairs, lines, "disagreement")
    with matplotlib.rc_context(STYLE):
        drawn = save(disagreement_figure(groups, members, selection.notes), name, collection.results)
    written = [
        collection.results.write_csv(f"{name}.csv", groups),
        collection.results.write_csv(f"{name}_pairs.csv", pairs),
        collection.results.write_csv(f"{name}_ensembles.csv", members),
    ]
    within = {row.line: row for row in groups.itertuples() if row.line == row.other}
    rows = []
    for row in members.itertuples():
        accuracy = _percent(row.accuracy, row.accuracy_std, row.networks)
        rows.append((label(row.line), accuracy, _percent(row.ensemble), _percent_of_pairs(within.get(row.line))))
    table = aligned(("line", "accuracy", "ensemble", "disagreement"), rows, texts=1)
    between = [
        (label(row.line), label(row.other), _percent_of_pairs(row))
        for row in groups.itertuples()
        if row.line != row.other
    ]
    other = [aligned(("between", "and", "disagreement"), between, texts=2)] if between else []
    unit = "In % of the test split: mean ± standard deviation (networks or pairs)."
    return _said([table, *other, unit], selection, [*written, *drawn])


def compare_weights(collection: Collection, own: dict[str, str]) -> str:
    """Measures the distances between the weights of networks; returns the text to print.

    Args:
        collection: of the runs.
        own: the shared keys, ``group`` and ``distance``.
    """
    name, selection = file_name(own, "distances"), _two_or_more(collection, own)
    distance = choice(own, "distance", ("l2", "cosine"))
    check_same(collection.runs, selection.run_ids, "model")

    pairs = distances_between(collection.results, selection.states, own)
    lines = selection.lines
    places, kept = scale(distance_matrix(pairs, list(lines), distance))
    plane = pd.DataFrame({"network": list(lines), "line": list(lines.values()), "x": places[:, 0], "y": places[:, 1]})
    with matplotlib.rc_context(STYLE):
        drawn = save(plane_figure(plane, kept, selection.notes), name, collection.results)
    written = [
        collection.results.write_csv(f"{name}.csv", pairs),
        collection.results.write_csv(f"{name}_plane.csv", plane),
    ]
    l2, cosine = (summarise_pairs(pairs, lines, value) for value in ("l2", "cosine"))
    rows = [
        (label(a.line), label(a.other), str(a.pairs), _mean_std(a), _mean_std(b))
        for a, b in zip(l2.itertuples(), cosine.itertuples(), strict=True)
    ]
    table = aligned(("between", "and", "pairs", "L2", "cosine distance"), rows, texts=2)
    about = f"The plane keeps {100 * kept:.1f} % of the squared {distance} distances."
    return _said([table, about], selection, [*written, *drawn])


def compute_spectra(collection: Collection, own: dict[str, str]) -> str:
    """Computes eigenvalues of the Hessian of each network's loss; returns the text to print.

    Args:
        collection: of the runs.
        own: the shared keys, ``sample``, ``method``, ``max_size``, ``dtype`` and ``mode``.
    """
    from dst.probes.spectrum import DTYPES, METHODS

    from .hessian import MODES, Settings

    settings = Settings(
        sample=positive_integer(own, "sample", Settings.sample),
        method=choice(own, "method", METHODS),
        max_size=positive_integer(own, "max_size", Settings.max_size),
        dtype=choice(own, "dtype", tuple(DTYPES)),
        mode=choice(own, "mode", MODES),
    )
    name, selection = (
        file_name(own, "hessian"),
        select_states(collection.runs, _named(own), point=own.get("at", "last")),
    )

    found = spectra_of(collection.results, selection.states, settings, own)
    networks, eigenvalues = found["networks"], found["eigenvalues"]
    with matplotlib.rc_context(STYLE):
        drawn = save(spectrum_figure(eigenvalues, selection.lines, selection.notes), name, collection.results)
    written = [
        collection.results.write_csv(f"{name}.csv", networks),
        collection.results.write_csv(f"{name}_eigenvalues.csv", eigenvalues),
    ]
    rows = [
        [label(row.line), row.network, row.method, *map(_number, (row.size, row.smallest, row.largest, row.negative))]
        for row in networks.itertuples()
    ]
    table = aligned(("line", "network", "method", "parameters", "smallest", "largest", "negative"), rows, texts=3)
    about = f"Of the loss on the first {settings.sample} training samples."
    return _said([table, about], selection, [*written, *drawn])


def _ends_of_phases(collection: Collection, own: dict[str, str]) -> Selection:
    if "to" in own:
        raise UserError(f"to={own['to']}: not with phases=true, which goes from phase to phase of each run")
    chosen = select_states(collection.runs, _named(own))
    states = [end for state in chosen.states for end in phase_ends(state)]
    return Selection(states, chosen.notes)


def _starts_and_end(collection: Collection, own: dict[str, str]) -> tuple[Selection, Selection]:
    named, point = _named(own), own.get("at", "last")
    to = own.get("to") or (named.pop() if len(named) > 1 else None)
    if to is None:
        raise UserError("interpolate: give two runs or more, RUN_A RUN_B, or the one to end at with to=RUN")
    end = select_states(collection.runs, [to], point=point)
    starts = select_states(collection.runs, named, point=point)
    if not named:
        starts = Selection([state for state in starts.states if state.name != end.states[0].name], starts.notes)
    if not starts.states:
        raise UserError(f"to={to}: there is no other finished run to start from")
    return starts, end


def _two_or_more(collection: Collection, own: dict[str, str]) -> Selection:
    selection = select_states(collection.runs, _named(own), point=own.get("at", "last"), group=own.get("group", ""))
    if len(selection.states) < 2:
        given = ", ".join(state.name for state in selection.states) or "no finished run"
        raise UserError(f"{given}: two networks or more can be compared; name more runs, or change where=…")
    return selection


def _named(own: dict[str, str]) -> list[str]:
    return [name for name in own.get("runs", "").split(",") if name]


def _place(own: dict[str, str]) -> Place:
    from .load import Place

    return Place(own.get("device", "auto"), Path(own["data_dir"]) if "data_dir" in own else None)


def _number(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def _percent(mean: float, std: float | None = None, count: int | None = None) -> str:
    spread = "" if std is None or pd.isna(std) else f" ± {100 * std:.2f}"
    return f"{100 * mean:.2f}{spread}" + ("" if count is None else f" ({count})")


def _percent_of_pairs(row: object) -> str:
    return "–" if row is None else _percent(row.mean, row.std, row.pairs)  # type: ignore[attr-defined]


def _mean_std(row: object) -> str:
    mean, std = row.mean, row.std  # type: ignore[attr-defined]
    return f"{mean:.4g}" + ("" if pd.isna(std) else f" ± {std:.2g}")


def _said(parts: Sequence[str], selection: Selection, paths: Sequence[Path]) -> str:
    notes = [f"Note: {note}." for note in selection.notes]
    return "\n".join(["\n\n".join(parts), *notes, f"written to {', '.join(map(str, paths))}"])
