"""The command lines of ``python -m launch``: settings, overrides for the runs, words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dst.config.limits import check_limits
from dst.config.mistakes import explain
from dst.config.tree import CONF_DIR
from dst.errors import UserError, unknown
from dst.run.plan import planned

from .cluster import ClusterConfig, LaunchConfig
from .sweep import Overrides


@dataclass(frozen=True)
class Arguments:
    """A parsed command line.

    Attributes:
        sweep: name in ``conf/sweep`` or path of a sweep file; None if the overrides describe the sweep.
        launch: settings of ``launch`` itself.
        clusters: the clusters named by ``cluster=``.
        run_overrides: overrides applied to every run.
        where: expression that selects some of the sweep's runs; None for all.
        search: name in ``conf/search`` or path of a search file; None for none.
        search_settings: ``key=value`` of the search itself.
        words: arguments without ``=``.
    """

    sweep: str | None
    launch: LaunchConfig
    clusters: tuple[ClusterConfig, ...]
    run_overrides: Overrides
    where: str | None
    search: str | None
    search_settings: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def output_dir(self) -> Path:
        """Where sweeps and runs are stored; absolute, because jobs start in another directory."""
        return Path(self.launch.output_dir).absolute()

    @property
    def name(self) -> str:
        """Name of the sweep or search: ``name=``, or the stem of its file."""
        file = self.sweep or self.search
        name = self.launch.name or (Path(file).stem if file else None)
        if not name:
            existing = ", ".join(planned(self.output_dir)) or "none yet"
            raise UserError(f"which sweep? give sweep=NAME (planned in {self.output_dir}: {existing})")
        if not re.fullmatch(r"\w[\w.+-]{0,199}", name):
            raise UserError(f"name={name}: must be a folder's name of up to 200 letters, digits and any of _ . + -")
        return name


def parse_arguments(command: str, argv: Sequence[str]) -> Arguments:
    """Returns what a command line says.

    Args:
        command: its name.
        argv: the words after it.

    Raises:
        UserError: for a word or setting that the command does not take, or takes once only.
    """
    argv = [
        f"{flag}=true" if (flag := argument[2:].replace("-", "_")) in _BOOLEAN_KEYS else argument for argument in argv
    ]
    words = tuple(argument for argument in argv if "=" not in argument.lstrip("~") and argument[0:1] != "~")
    if words and command not in _WITH_WORDS:
        raise UserError(f"{words[0]}: {unknown(words[0].strip('-').replace('-', '_'), KEYS)}; settings are key=value")
    given = [argument for argument in argv if argument not in words]
    launch_arguments = [argument for argument in given if _top_level_key(argument) in KEYS]
    run_overrides = tuple(argument for argument in given if argument not in launch_arguments)
    if run_overrides and command not in WITH_RUN_OVERRIDES:
        first = run_overrides[0]
        raise UserError(f"{first}: {unknown(_top_level_key(first), KEYS)}; {command} takes no overrides for the runs")
    keys = [argument.partition("=")[0] for argument in launch_arguments]
    if duplicates := [key for key in keys if keys.count(key) > 1]:
        raise UserError(f"{duplicates[0]}: is given twice; give it once")
    settings = tuple(argument.removeprefix("search.") for argument in given if argument.startswith("search."))
    launch_arguments = [argument for argument in launch_arguments if not argument.startswith("search.")]
    choices = dict(argument.split("=", 1) for argument in launch_arguments if argument.startswith(_WITHOUT_HYDRA))
    rest = [
        f"++{argument}" if argument.startswith("cluster.extra") else argument  # accepts any sbatch flag
        for argument in launch_arguments
        if not argument.startswith(_WITHOUT_HYDRA)
    ]
    names = choices.get("cluster", "local").split(",")
    configs = [_compose([f"cluster={name}", *rest]) for name in names]
    if (on_end := choices.get("cluster.on_end")) is not None:
        for config in configs:
            config.cluster.on_end = None if on_end == "null" else on_end
            check_limits(config)
    clusters, where = tuple(config.cluster for config in configs), choices.get("where")
    if where is not None and command not in _WITH_WHERE:
        raise UserError(f"where={where}: {command} takes all runs; {', '.join(_WITH_WHERE)} take some")
    sweep, search = choices.get("sweep"), choices.get("search")
    if (search or settings) and command not in _WITH_SEARCH:
        raise UserError(f"search={search or '…'}: is for the commands {', '.join(_WITH_SEARCH)}, not for {command}")
    if sweep and command == "search":
        raise UserError(f"sweep={sweep}: a search is no sweep; give search=NAME (conf/search), or name=NAME")
    if search and where is not None:
        raise UserError(f"where={where}: selects runs of a sweep, not trials of a search")
    return Arguments(sweep, configs[0], clusters, run_overrides, where, search, settings, words)


def _top_level_key(argument: str) -> str:
    return re.split(r"[.=]", argument.lstrip("+~"))[0]


_WITHOUT_HYDRA = ("sweep=", "search=", "cluster=", "where=", "cluster.on_end=")
"""Settings whose values are taken as they are, whatever they mean in Hydra's syntax."""

KEYS = ("sweep", "search", "where", *LaunchConfig.__dataclass_fields__)
"""Settings of the commands; ``where`` and ``search`` are for some of them."""

WITH_RUN_OVERRIDES = ("plan", "submit", "search")
_WITH_WORDS = ("logs", "restore", "completion")
_WITH_SEARCH = ("search", "status", "cancel")
_WITH_WHERE = ("plan", "status", "submit", "cancel", "logs", "archive", "delete")
_BOOLEAN_KEYS = [key for key, item in LaunchConfig.__dataclass_fields__.items() if item.type == "Boolean"]
"""Settings that have a flag, such as ``--dry-run`` for ``dry_run=true``."""


def _compose(overrides: Sequence[str]) -> LaunchConfig:
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = OmegaConf.to_object(compose("launch", overrides=list(overrides)))
    except Exception as error:  # Hydra raises ValueError and others too
        raise UserError(explain(error)) from error
    assert isinstance(config, LaunchConfig)
    check_limits(config)
    config.cluster.check()
    return config
