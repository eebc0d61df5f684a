"""The paper's name of the method that a run's choices describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from dst.config.tree import CONF_DIR
from dst.errors import UserError
from dst.run.choices import config_key

_GROWTHS = {"gradient": "RigL", "random": "SET", "gradient_inverted": "RigL Inverted"}
_MASKS = {"random": "Static", "parent": "Scratch", "snip": "SNIP", "grasp": "GraSP"}
_SUFFIXES = {"default": "", "sparsity_aware": "+"}


def paper_methods(runs: pd.DataFrame) -> pd.Series:
    """Returns the paper's method of each run, None where it has none.

    A dense run is ``Small Dense`` if its layers have other sizes than those of the sparse runs of its setup. Without
    sparse runs they are compared with the largest dense ones or, if all dense runs are alike, with the model's YAML.
    A run whose parent is among the runs and is no ``Prune`` run has no name.

    Args:
        runs: one row per run, with the id of its ``parent``.
    """
    names = pd.Series([paper_method(run) for run in runs.to_dict(orient="records")], index=runs.index, dtype=object)
    names = names.where(~((names == "Dense") & _other_sizes(runs)), "Small Dense")
    name_of = dict(zip(runs["run_id"], names, strict=True))
    return names.where(runs["parent"].map(lambda parent: name_of.get(parent, "Prune") == "Prune"), None)


def paper_method(run: Mapping[str, Any]) -> str | None:
    """Returns the paper's method of one run, by its row; ``Dense`` for a dense run of any size.

    ``+`` stands for weights drawn for the mask (``weight_init=sparsity_aware``). ``Lottery`` takes back its parent's
    weights of any step but the last.
    """
    method, procedure = run["method"], run.get("procedure", "dst")
    mask, weights = run.get("initial_mask", "random"), run.get("weight_init", "default")
    if method == "gradual":
        return "Prune" if (run["criterion"], weights) == ("magnitude", "default") else None
    if procedure != "dst":
        return None
    if method == "dense":
        return "Dense" if weights == "default" else None
    if method == "static" and (mask, weights) == ("parent", "parent"):
        return "Prune restart" if run["weight_init_step"] == "last" else "Lottery"
    if method == "dst" and (run["criterion"] not in ("magnitude", "set") or mask not in ("random", "parent")):
        return None
    name = _MASKS.get(mask) if method == "static" else _GROWTHS.get(run["growth"])
    suffix = _SUFFIXES.get(weights)
    return None if name is None or suffix is None else name + suffix


def check_one_setting(runs: pd.DataFrame) -> None:
    """Checks that the runs of each method differ in their seeds and parents alone.

    Args:
        runs: of one setup, with the column ``paper_method``.

    Raises:
        UserError: with the method, the choice that varies and its values.
    """
    choices = [name for name in runs.columns if config_key(name) and name not in ("seed", "parent")]
    for method, here in runs.groupby("paper_method", sort=False):
        for name in choices:
            values = here[name].astype(object).where(here[name].notna(), "null").map(str).unique()
            if len(values) > 1:
                raise UserError(
                    f"{here['setup'].iloc[0]}: runs of {method} differ in {config_key(name)} ({', '.join(values)}), "
                    "and only seeds are averaged; select runs of one setting with where=… or sweep=…"
                )


def _other_sizes(runs: pd.DataFrame) -> pd.Series:
    """Returns whether each run's layers have other sizes than is usual in its setup."""
    sizes, other = _sizes(runs), pd.Series(False, index=runs.index)
    for _, here in runs.groupby("setup"):
        other[here.index] = (sizes[here.index] != "") & ~sizes[here.index].isin(_usual_sizes(here, sizes[here.index]))
    return other


def _usual_sizes(runs: pd.DataFrame, sizes: pd.Series) -> set[str]:
    """Returns the sizes of a setup's sparse runs; without any, of its largest dense ones, or its model's YAML.

    Args:
        runs: of the setup.
        sizes: of each run (:func:`_sizes`).
    """
    sparse = runs["method"] != "dense"
    if sparse.any():
        return set(sizes[sparse])
    parameters = runs["parameters_total"]
    if sizes.nunique() > 1 and parameters.notna().any():
        return set(sizes[parameters == parameters.max()])
    return {_default_sizes(str(runs["model"].iloc[0]))}


def _sizes(runs: pd.DataFrame) -> pd.Series:
    """Returns the model's choices that are lists, such as ``hidden=[300, 100]``, as a text."""
    text = pd.Series("", index=runs.index)
    for name in sorted(column for column in runs.columns if column.startswith("model_")):
        lists = runs[name].map(lambda value: isinstance(value, str) and value.startswith("["))
        text = text + runs[name].map(lambda value, name=name: f"{name}={value};").where(lists, "")
    return text


def _default_sizes(model: str) -> str:
    path = CONF_DIR / "model" / f"{model}.yaml"
    node = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return "".join(
        f"model_{key}={node[key]};" for key in sorted(node) if key != "defaults" and isinstance(node[key], list)
    )
