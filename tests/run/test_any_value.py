"""Whatever is typed for a key of the config: a training, or one line and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dst.config import compose
from tests.conftest import SMALL

TypeIn = Callable[..., tuple[int, str, str]]
BASE = (*SMALL, "criterion=mest", "model.hidden=[8]", "update_period=5")


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yields every key of a config, those of its nodes included."""
    for name, child in node.items():
        yield prefix + name
        if isinstance(child, dict):
            yield from keys(child, f"{prefix}{name}.")


KEYS = list(keys(OmegaConf.to_container(compose(BASE))))
ODD = [
    "null", "true", "nan", "inf", "-inf", "1e308", "1e400", "-1e38", "3e38", "1e-320", "0", "-0.0", "1", "2", "0.5",
    "-1", "''", "' '", "[]", "[0]", "[-1]", "[nan]", "[null]", "[1,2]", "[[1]]", "{}", "{a:1}", "???", "${nope}",
    "${seed}", "${oc.env:NOPE}", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "builtins.print", "builtins.dict", "os.getcwd", "dst.sparsity.MEST", "dst.sparsity.Growth", "torch.nn.Linear",
    "cpu:7", "cuda:99", "../x", "'a\nb'", "'\x1b[2J'", "'\u2028'", "'\ud800'", "~", "=", "x" * 300,
]  # fmt: skip
texts = st.text(st.characters(codec="utf-8", exclude_characters="/."), max_size=8)
quoted = texts.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
numbers = st.integers(-3, 300) | st.integers(2**45, 2**70) | st.floats()  # between: more memory than there is
values = st.sampled_from(ODD) | quoted | numbers.map(str) | st.lists(numbers, max_size=3).map(str)


@settings(
    max_examples=int(os.environ.get("DST_ODD_VALUES", "40")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(key=st.sampled_from(KEYS), value=values, epochs=st.sampled_from([0, 0, 1]))
@example(key="seed", value="9223372036854775808", epochs=0)
@example(key="prune_fraction.stop_at", value="abc", epochs=0)
@example(key="model.hidden", value="[0]", epochs=0)
@example(key="recipe.lr", value="1e308", epochs=1)
@example(key="criterion.lam", value="nan", epochs=1)
def test_any_value_of_any_key_is_a_training_or_one_line(
    key: str, value: str, epochs: int, type_in: TypeIn, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key == "recipe.epochs" and value.strip("'[]")[:1].isdigit():
        value = value[:1]  # the training would take for ever
    folder = tmp_path / "cwd"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    monkeypatch.chdir(folder)
    where = (f"data_dir={data_dir}", "output_dir=outputs", f"recipe.epochs={epochs}")
    status, _, err = type_in(*BASE, *where, f"{key}={value}")
    runs = list(folder.rglob("runs/*"))
    if status == 0:
        (run,) = runs
        assert json.loads((run / "summary.json").read_text())["status"] in ("finished", "diverged")
    else:
        assert (status, err.count("\n"), err[:7]) == (2, 1, "error: "), err
        assert runs == []
