"""Writes a trained network for use outside of the framework: safetensors files and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors.torch import save
from torch import Tensor

from dst.errors import UserError
from dst.files.atomic import atomic_file
from dst.run.layout import CONFIG
from dst.run.outcome import read_summary
from dst.terminal.output import describe

from ..collect import Collection
from .load import Place, load_config, load_weights
from .states import select_states

MODEL, MASKS, CARD = "model.safetensors", "masks.safetensors", "README.md"

_CARD = """---
library_name: pytorch
tags: [sparse, pruning]
---

# {title}

| | |
|---|---|
{rows}

`{model}` has all parameters and buffers, inactive weights being 0.{about_masks} Load them with

```python
from safetensors.torch import load_file

{load}
```

To repeat the training, in a folder with this `{config}` and the data under `data/`:

    python -c "import dst.train, omegaconf; dst.train.run(omegaconf.OmegaConf.load('{config}'))"
"""


def export(collection: Collection, run: str) -> list[Path]:
    """Writes the last weights and masks of a run, its config and a model card; returns the files.

    Args:
        collection: of the runs.
        run: the beginning of a run id.

    Raises:
        UserError: for a run that is unknown, has not finished, diverged, or kept no checkpoint.
    """
    if "@" in run:
        raise UserError(f"run={run}: the last weights of a run are exported; give run={run.partition('@')[0]}")
    (state,) = select_states(collection.runs, [run]).states
    summary = read_summary(state.path)
    if summary is None:
        raise UserError(f"run={run}: its summary is not in {state.path}; give output_dir=…")
    weights = load_weights(state, Place())
    config = replace(load_config(state, Place()), data_dir="data", output_dir="outputs")
    contents = {MODEL: _packed(weights.tensors), CONFIG: OmegaConf.to_yaml(OmegaConf.create(asdict(config))).encode()}
    if weights.masks:
        contents[MASKS] = _packed(weights.masks)
    contents[CARD] = _card(describe(config), summary, sparse=bool(weights.masks)).encode()
    paths = [collection.results.path(f"export/{state.run_id}/{name}") for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        with atomic_file(path) as file:
            file.write(content)
    return paths


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the content of a safetensors file; tensors that share memory are stored once each."""
    return save({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, {"format": "pt"})


def _card(title: str, summary: Mapping[str, Any], *, sparse: bool) -> str:
    facts = {
        "model": summary["model"],
        "data set": summary["dataset"],
        "method": summary["method"],
        "procedure": summary["procedure"],
        "criterion, growth": " and ".join(filter(None, (summary["criterion"], summary["growth"]))) or "none",
        "density": f"{summary['density_actual']:.4g} of {summary['parameters_sparsifiable']:,} sparsifiable weights",
        "active weights": f"{summary['parameters_active']:,}",
        "parameters": f"{summary['parameters_total']:,}",
        "test accuracy": f"{100 * summary['test_acc']:.2f} %",
        "validation accuracy": f"{100 * summary['val_acc']:.2f} %",
        "epochs": summary["epochs"],
        "seed": summary["seed"],
        "FLOPs of a forward pass": f"{summary['flops_inference']:.4g}",
        "FLOPs of the training": f"{summary['flops_training']:.4g}",
        "run id": summary["run_id"],
        "code": (summary.get("code") or {}).get("commit") or "unknown",
        "versions": ", ".join(f"{name} {version}" for name, version in summary["versions"].items() if version),
    }
    load = [f'model.load_state_dict(load_file("{MODEL}"))']
    about_masks = ""
    if sparse:
        load.append(f'masks = load_file("{MASKS}")')
        about_masks = f" `{MASKS}` has the bool mask of the active weights of each sparse parameter."
    return _CARD.format(
        title=title,
        rows="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        model=MODEL,
        about_masks=about_masks,
        load="\n".join(load),
        config=CONFIG,
    )
