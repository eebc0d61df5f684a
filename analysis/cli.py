"""The commands of ``python -m analysis``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dst.commands import ANALYSIS
from dst.config.tree import options
from dst.errors import UserError, unknown
from dst.terminal.completion import bash_completion
from dst.terminal.exits import command
from dst.terminal.help import help_of

from .arguments import choice, file_name, positive_integer
from .source import Source
from .tables_and_figures import FIGURE_KEYS, PAPERS, TABLE_KEYS, figures, metric_of, table, write_tables

if TYPE_CHECKING:
    pass

HELP = f"""usage: {ANALYSIS} COMMAND [key=value ...]

  collect                     read the runs: runs.parquet, runs.csv, epochs.parquet; say what is missing
  table                       mean ± std (n), criteria × densities: text, Markdown, LaTeX, CSV
  table    layout=latex       print that one (text, markdown, latex, csv); all four are written
  figures  fig=1              draw a figure of the paper as PDF and PNG (fig=all, fig=1,3; fig=help lists them)
  table, figures reference=true   with the paper's own numbers, where it prints them
  table, figures paper=gradient_flow   the tables (table=methods, similarity) and figures (fig=help) of that paper;
                              device=auto, data_dir=… for its networks
  table, figures paper=cyclic  accuracy and cost of all families of methods; that paper's figures, fig=cost
  jaccard                     how similar the weights are that criteria remove or end with (probes=jaccard); CSV too
  best     by=val_acc group=model,density   the best of what varies within each group (default: setup,density), its
                              runner-up, whether they differ, and the command that repeats it
  compare  sweep=A,B          what both sweeps have, paired by seed: differences, intervals, p-values; by=test_acc
  report                      one report.html to open in a browser, without any network
  overview                    collect, table, accuracy figure and report in one go
  completion bash             the script that completes dst-analysis's arguments with the Tab key
  dashboard entity=… project=…  a W&B report that compares the criteria (dry_run=true: write its spec to a file)

Trained networks, for runs with a checkpoint; RUN is the beginning of a run id, RUN@best or RUN@STEP (0 or a snapshot):
  interpolate  RUN_A RUN_B    loss and accuracy on the line from RUN_A to RUN_B, and the barrier between them
  interpolate  to=RUN         … from each selected run; mask=none (start, end, both), batch_norm=keep (reestimate)
  interpolate  phases=true    … from the end of each phase of the runs to that of the next (checkpoint.phases=true)
  disagreement                share of test examples on which two networks differ; accuracy of ensembles
  distances                   L2 and cosine distances between weights, and their plane; distance=l2 (cosine)
  hessian      RUN RUN@STEP   eigenvalues of the Hessian; sample=1000, method=auto (exact, lanczos), max_size=5000
  export       run=RUN        safetensors files of its last weights and masks, with a model card

Without runs:
  signal                      std of a sparse network's logits at initialisation, by weight_init and sparsity;
                              model=lenet5, shape=3,28,28, base=he (model), batch=500, repeats=3, name=signal

Which runs, for every other command:
  sweep=demo                  those of a planned sweep; results then go to results/demo (default: all runs)
  output_dir=outputs          what the runs were given; or dir=… for the run directories' parent itself
  results_dir=results         where tables, figures and the report go
  source=wandb entity=… project=…   from a W&B project instead of run directories
  where='density <= 0.2'      those for which a comparison of the config's names holds (and, or, not, in)

Further keys: table, figures, overview: metric=test_acc (or test_acc_best_val, val_acc, best_val_acc);
trained networks: RUN … (or runs=RUN,RUN), at=last (best, 0), device=auto, data_dir=…, name=… of the files;
hessian: dtype=float32 (float64), mode=train (eval); interpolate: split=both (train, test);
disagreement, distances: group=criterion,density (default: all but seeds).
"""

_SOURCE_KEYS = tuple(Source.__dataclass_fields__)
_PATHS = ("output_dir", "dir", "results_dir")
_INSTALL = {"wandb_workspaces": "dashboard", "wandb": "dashboard"}
_LIBRARIES = ("pyarrow", "scipy", "scikit_posthocs", "matplotlib", "plotly", "safetensors", *_INSTALL)


def main() -> None:
    """Runs the command line; a mistake is one line on stderr and exit status 2."""
    name, *rest = sys.argv[1:] or ["help"]
    with command(), _name_missing_library():
        if name == "help" or {"-h", "--help"} & {name, *rest}:
            name = (rest or [name])[0] if name == "help" else name
            print(help_of(name, HELP, (*COMMANDS, "completion")) if name in COMMANDS else HELP, end="")
        elif name == "completion":
            print(_completion(*rest[:1] or ("",)), end="")
        elif name not in COMMANDS:
            raise UserError(f"{name}: {unknown(name, COMMANDS)}")
        else:
            run, keys = COMMANDS[name]
            run(*_parse_arguments(rest, keys))


def _completion(shell: str) -> str:
    keys = {command: (*_SOURCE_KEYS, *own) for command, (_, own) in COMMANDS.items()}
    values = {"sweep": options("sweep"), "paper": PAPERS, "source": ("runs", "wandb")}
    return bash_completion("dst-analysis", keys, values, shell)


@contextlib.contextmanager
def _name_missing_library() -> Iterator[None]:
    """Turns a missing optional library into a UserError with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        extra = _INSTALL.get(library, "analysis")
        raise UserError(f"{library} is not installed; pip install 'fantastic-weights[{extra}]'") from error


def _parse_arguments(argv: Sequence[str], keys: Sequence[str]) -> tuple[Source, dict[str, str]]:
    """Splits ``key=value`` arguments into those of every command and those of this one (``keys``)."""
    valid = [*_SOURCE_KEYS, *keys]
    given: dict[str, str] = {}
    named = [argument for argument in argv if "=" not in argument and "runs" in keys]
    argv = [argument for argument in argv if argument not in named] + ([f"runs={','.join(named)}"] if named else [])
    for argument in argv:
        key, equals, value = argument.partition("=")
        if key not in valid:
            raise UserError(f"{key}: {unknown(key, valid)}")
        if not equals or not value:
            raise UserError(f"{key}: give a value: {key}=…")
        if key in given:
            raise UserError(f"{key}={value}: is given twice; the first was {key}={given[key]}")
        given[key] = value
    own = {key: given.pop(key) for key in list(given) if key in keys}
    source: dict[str, Any] = {key: Path(value) if key in _PATHS else value for key, value in given.items()}
    return Source(**source), own


def _collect(source: Source, own: dict[str, str]) -> None:
    from .collect import collect
    from .status import status_text

    print(status_text(collect(source), source))


def _best(source: Source, own: dict[str, str]) -> None:
    from .best import report_best
    from .collect import collect

    by, group = own.get("by", "val_acc"), own.get("group", "setup,density")
    print(report_best(collect(source), by, group, source.output_dir))


def _compare(source: Source, own: dict[str, str]) -> None:
    from .sweep_differences import report_differences

    print(report_differences(source, own.get("by", "test_acc")))


def _report(source: Source, own: dict[str, str]) -> None:
    from .collect import collect
    from .report import write_report

    print(f"open {write_report(collect(source))}")


def _overview(source: Source, own: dict[str, str]) -> None:
    from .collect import collect
    from .figures import draw, select_figures
    from .report import write_report
    from .status import status_text
    from .table import format_table

    metric = metric_of(own)
    collection = collect(source)
    print(f"{status_text(collection, source)}\n\n{format_table(collection.runs, 'text', metric)}\n")
    tables = write_tables(collection, metric)
    outcome = draw(select_figures("22")[0], collection, metric)
    report = write_report(collection)
    print("\n".join([f"tables  {', '.join(map(str, tables))}", *outcome.lines, f"report  {report}"]))


def _dashboard(source: Source, own: dict[str, str]) -> None:
    from .dashboard import save_dashboard

    dry_run = choice(own, "dry_run", ("false", "true")) == "true"
    print(save_dashboard(source, dry_run=dry_run))


def _networks(work: str) -> Callable[[Source, dict[str, str]], None]:
    """Returns the command that hands the collected runs to a function of :mod:`analysis.models.commands`."""

    def start(source: Source, own: dict[str, str]) -> None:
        from .collect import collect
        from .models import commands

        print(getattr(commands, work)(collect(source), own))

    return start


def _export(source: Source, own: dict[str, str]) -> None:
    from .collect import collect
    from .models.export import export

    if "run" not in own:
        raise UserError("export: say which run with run=RUN_ID; runs.csv lists them")
    print(f"written to {', '.join(map(str, export(collect(source), own['run'])))}")


def _signal(source: Source, own: dict[str, str]) -> None:
    from .results_folder import ResultsFolder
    from .signal_propagation import BASES, Setting, parse_shape, report_signal

    setting = Setting(
        model=own.get("model", Setting.model),
        shape=parse_shape(own["shape"]) if "shape" in own else Setting.shape,
        base=choice(own, "base", BASES),
        batch=positive_integer(own, "batch", Setting.batch),
        repeats=positive_integer(own, "repeats", Setting.repeats),
    )
    print(report_signal(setting, file_name(own, "signal"), ResultsFolder(source.results)))


def _jaccard(source: Source, own: dict[str, str]) -> None:
    from .collect import collect
    from .similarity.report import report_jaccard
    from .status import missing_lines

    collection = collect(source)
    print(report_jaccard(collection))
    if len(collection.missing):
        print("\n".join(missing_lines(collection, source)))


_NETWORK_KEYS = ("runs", "at", "device", "data_dir", "name")
COMMANDS: dict[str, tuple[Callable[[Source, dict[str, str]], None], tuple[str, ...]]] = {
    "collect": (_collect, ()),
    "table": (table, ("layout", "metric", "paper", "reference", *TABLE_KEYS)),
    "figures": (figures, ("fig", "metric", "paper", "reference", *FIGURE_KEYS)),
    "best": (_best, ("by", "group")),
    "compare": (_compare, ("by",)),
    "report": (_report, ()),
    "overview": (_overview, ("metric",)),
    "dashboard": (_dashboard, ("dry_run",)),
    "interpolate": (_networks("interpolate_networks"), (*_NETWORK_KEYS, "to", "phases", "mask", "batch_norm", "split")),
    "disagreement": (_networks("compare_predictions"), (*_NETWORK_KEYS, "group")),
    "distances": (_networks("compare_weights"), (*_NETWORK_KEYS, "group", "distance")),
    "hessian": (_networks("compute_spectra"), (*_NETWORK_KEYS, "sample", "method", "max_size", "dtype", "mode")),
    "jaccard": (_jaccard, ()),
    "export": (_export, ("run",)),
    "signal": (_signal, ("model", "shape", "base", "batch", "repeats", "name")),
}
"""Each command's function and its keys, in addition to those of :class:`analysis.source.Source`."""
