"""The Hessian of trained networks: that of the probe, computed later; its command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import load_probes

Train = Callable[..., dict[str, Any]]
TypeIn = Callable[..., tuple[int, str, str]]

TINY = ("model.hidden=[6]", "recipe.epochs=1", "update_period=5", "checkpoint.snapshots=[8]")
PROBE = ("probes=hessian", "probes.hessian.at=[1,9]", "probes.hessian.sample=300", "probes.hessian.dtype=float64")


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_the_spectrum_of_a_kept_network_is_what_the_probe_measured(
    method: str, train: Train, type_in: TypeIn, tmp_path: Path
) -> None:
    run_id = train(*TINY, *PROBE, f"probes.hessian.method={method}")["run_id"]
    measured = load_probes("hessian", tmp_path / "outputs").set_index("step")
    words = (f"{run_id}@0", f"{run_id}@8", f"method={method}", "sample=300", "dtype=float64", "device=cpu")
    folders = (f"output_dir={tmp_path / 'outputs'}", f"results_dir={tmp_path / 'results'}")
    status, out, err = type_in("hessian", *words, *folders)
    assert (status, err) == (0, "")
    (kept,) = (tmp_path / "results" / ".models").iterdir()
    written = kept.stat().st_mtime_ns
    assert type_in("hessian", *words, *folders) == (0, out, "")
    assert kept.stat().st_mtime_ns == written
    assert (tmp_path / "results" / "figures" / "hessian.png").read_bytes().startswith(b"\x89PNG")
    networks = pd.read_csv(tmp_path / "results" / "hessian.csv").set_index("network")
    values = pd.read_csv(tmp_path / "results" / "hessian_eigenvalues.csv").groupby("network")["eigenvalue"]
    for step, network in ((1, f"{run_id}@0"), (9, f"{run_id}@8")):  # a probe measures before the optimizer step
        expected, found = measured.loc[step], networks.loc[network]
        assert (found["method"], found["size"]) == (method, expected["size"])
        for key in ("largest", "smallest"):
            assert found[key] == pytest.approx(expected[key], rel=1e-6)
        if method == "exact":
            assert found["negative"] == expected["negative"]
            assert values.get_group(network).tolist() == pytest.approx(expected["eigenvalues"], abs=1e-7)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("method=exact max_size=59", "method=exact, {id}: the Hessian of 60 parameters is a matrix of 14,400 bytes"),
        ("sample=1258", "sample=1258: the training split has 1257 samples; give 1257 or fewer"),
        ("sample=some", "sample=some: give a whole number, 1 or more"),
        ("dtype=half", "dtype=half: unknown; choose one of float32, float64"),
        ("at=best", "{id}@best: its masks were not stored; give the last weights, 0 or a snapshot"),
    ],
)
def test_a_mistake_is_one_line(words: str, told: str, train: Train, type_in: TypeIn, tmp_path: Path) -> None:
    run_id = train(*TINY)["run_id"]
    folders = (f"output_dir={tmp_path / 'outputs'}", f"results_dir={tmp_path / 'results'}")
    status, out, err = type_in("hessian", run_id, *words.split(), "device=cpu", *folders)
    assert (status, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {told.format(id=run_id)}")
