from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis.collect import Collection
from analysis.report import write_report
from analysis.report.payload import CURVES, POINTS, pack_curves

Collect = Callable[..., Collection]
Page = Any


def payload(report: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', report.read_text(), re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def unpack(packed: str, runs: int) -> dict[str, np.ndarray]:
    """Unpacks the curves as the page does: for each name an array runs × points, NaN where missing."""
    raw = gzip.decompress(base64.b64decode(packed))
    head = runs * len(CURVES) * 8
    ranges = np.frombuffer(raw[:head], "<f4").reshape(runs, len(CURVES), 2).astype(float)
    levels = np.frombuffer(raw[head:], "<u2").reshape(runs, len(CURVES), POINTS).astype(float)
    low, high = ranges[..., :1], ranges[..., 1:]
    values = np.where(levels == 65535, np.nan, low + (high - low) * levels / 65534)
    return {name: values[:, index] for index, name in enumerate(CURVES)}


def test_the_report_loads_nothing_from_the_network(report: Path) -> None:
    html = re.sub(r"<script>.*?</script>", "", report.read_text(), flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)[^\"']+", html)
    assert "@import" not in html
    assert "url(" not in html


def test_the_report_has_every_run_and_every_criterion(report: Path, trained: Path) -> None:
    data = payload(report)
    ids = data["runs"]["run_id"]
    assert sorted(ids) == sorted(path.name for path in (trained / "runs").iterdir())
    assert set(data["lines"]) == {"dense", "static", "magnitude", "snip"}
    assert ["26", "planned"] in data["tiles"]
    assert ["26", "finished"] in data["tiles"]


def test_findings_match_the_data(outputs: Path, collected: Collect) -> None:
    for directory in (outputs / "runs").iterdir():
        path = directory / "summary.json"
        summary = json.loads(path.read_text())
        best = {"dense": 0.99, "static": 0.2, "dst": 0.9 if summary["criterion"] == "snip" else 0.5}
        path.write_text(json.dumps(summary | {"test_acc": best[summary["method"]]}))
    data = payload(write_report(collected(outputs)))
    findings = "\n".join([*data["findings"], *data["setup_findings"]])
    assert "All densities: SNIP has the best average rank, 1.00 over 4 blocks" in findings
    assert "not tested, as a test needs 11 or more" in findings
    assert "ignificant" not in findings
    assert [image["about"].partition(":")[0] for image in data["diagrams"]] == ["All densities"]
    assert "random growth: the highest mean has, of 2 densities, SNIP at 0.1, 0.2." in findings
    assert "higher mean than static in 8 of 8 cells" in findings
    assert "no sparse model's mean reaches the dense model's" in findings
    assert "is 9.00 percentage points short" in findings
    assert "40.00 percentage points at densities ≤ 0.2" in findings
    assert "fewer than 3 runs" in findings


def rewrite_configs(outputs: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Applies a function to the config of each run."""
    for path in (outputs / "runs").glob("*/config.yaml"):
        path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()))))


def test_the_run_table_has_a_column_for_every_choice_that_varies(outputs: Path, collected: Collect) -> None:
    rewrite_configs(outputs, lambda config: config | {"recipe": config["recipe"] | {"lr": 0.1 / config["seed"]}})
    data = payload(write_report(collected(outputs)))
    assert "recipe.lr" in [column["title"] for column in data["columns"]]
    assert set(data["runs"]["recipe_lr"]) == {0.1, 0.05}
    assert "small_mlp/digits, recipe.lr=0.05" in data["cells"]["setup"]["names"]
    assert not {"recipe.epochs", "remark"} & {column["title"] for column in data["columns"]}


def test_runs_left_out_are_listed_in_the_findings(outputs: Path, collected: Collect) -> None:
    def change(config: dict[str, Any]) -> dict[str, Any]:
        recipe = {"lr": 0.1 / config["seed"], "weight_decay": 0.1 if config["density"]["value"] == 0.1 else 0.0}
        return config | {"recipe": config["recipe"] | recipe}

    rewrite_configs(outputs, change)
    data = payload(write_report(collected(outputs)))
    assert any(
        "26 runs of small_mlp/digits are left out, as more than one" in sentence for sentence in data["findings"]
    )


def test_mixed_source_versions_are_listed_in_the_findings(outputs: Path, collected: Collect) -> None:
    for path in (outputs / "runs").glob("*/summary.json"):
        summary = json.loads(path.read_text())
        sources = {"criterion": f"{summary['criterion']}{summary['seed'] if summary['criterion'] == 'snip' else ''}"}
        code = {"commit": "0123456", "hash": f"package{summary['seed']}", "components": sources}
        path.write_text(json.dumps(summary | {"code": code}))
    findings = " ".join(payload(write_report(collected(outputs)))["findings"])
    assert "2 versions of the criterion snip's source among these runs (4 and 4 runs)." in findings
    assert "criterion magnitude's source" not in findings
    assert re.search(r"2 versions of the package's source among these runs \(\d+ and \d+ runs\)\.", findings)


def test_names_of_runs_are_escaped_in_the_page(outputs: Path, collected: Collect) -> None:
    (outputs / "runs" / "<script>alert(1)<").mkdir()
    html = write_report(collected(outputs)).read_text()
    assert "alert(1)" in html
    assert "<script>alert" not in html


def test_unpacked_curves_equal_the_logged_ones() -> None:
    random = np.random.default_rng(0)
    lengths = {"short": 3, "exact": POINTS, "long": 500, "one": 1}
    frames = [
        pd.DataFrame({"run_id": name, "epoch": range(1, n + 1), **{key: random.normal(size=n) for key in CURVES[1:]}})
        for name, n in lengths.items()
    ]
    frames[0].loc[1, "val_acc"] = np.nan
    run_ids = pd.Series([*lengths, "none"])
    unpacked = unpack(pack_curves(run_ids, pd.concat(frames[::-1])), len(run_ids))
    for row, frame in enumerate(frames):
        kept = np.rint(unpacked["epoch"][row][~np.isnan(unpacked["epoch"][row])]).astype(int)
        assert (kept[0], kept[-1], len(kept)) == (1, len(frame), min(len(frame), POINTS))
        expected = frame.set_index("epoch").loc[kept]
        for name in CURVES[1:]:
            np.testing.assert_allclose(unpacked[name][row][: len(kept)], expected[name], atol=2e-4)
    assert np.isnan(unpacked["epoch"][-1]).all()


def test_a_report_of_only_broken_runs_is_written(outputs: Path, collected: Collect) -> None:
    for directory in (outputs / "runs").iterdir():
        (directory / "summary.json").write_text("{")
        (directory / "metrics.jsonl").unlink()
    data = payload(write_report(collected(outputs)))
    assert data["findings"] == ["No run has finished yet."]
    assert ["26", "broken"] in data["tiles"]


# ---- in a real browser

browser = [pytest.mark.browser]


def cells_of(page: Page, name: str) -> list[str]:
    place = page.eval_on_selector_all("#heads th", "heads => heads.map(head => head.dataset.name)").index(name)
    cells: list[str] = page.eval_on_selector_all(
        f"#rows td:nth-child({place + 1})", "cells => cells.map(c => c.innerText)"
    )
    return cells


class TestInABrowser:
    pytestmark = browser

    def test_the_charts_are_drawn(self, page: Page) -> None:
        for chart in ("accuracy-chart", "period-chart", "itop-chart"):
            page.wait_for_selector(f"#{chart} .scatterlayer .trace")
        assert page.locator("#diagrams img").count() >= 1
        assert page.eval_on_selector_all("#diagrams img", "all => all.every(image => image.naturalWidth > 0)")
        assert page.locator("#finding-list li").count() >= 3

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_run_table_fits_a_window_of_1300_pixels(self, scheme: str, page: Page) -> None:
        page.set_viewport_size({"width": 1300, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.eval_on_selector(".scroll", "box => box.scrollWidth <= box.clientWidth")
        colors = page.eval_on_selector(
            "body", "body => [getComputedStyle(body).color, getComputedStyle(body).backgroundColor]"
        )
        assert (colors == ["rgb(29, 39, 51)", "rgb(246, 248, 250)"]) == (scheme == "light")

    def test_filters_select_rows(self, page: Page) -> None:
        assert page.inner_text("#count") == "26 of 26 runs"
        page.select_option("#filters select[data-name=line]", "snip")
        page.select_option("#filters select[data-name=density]", "0.1")
        assert set(cells_of(page, "line")) == {"snip"}
        assert set(cells_of(page, "density")) == {"0.1"}
        assert page.inner_text("#count") == "6 of 26 runs"
        page.fill("#search", "gradient")
        assert page.inner_text("#count") == "2 of 26 runs"
        page.fill("#search", "no such thing")
        assert cells_of(page, "run_id") == []
        page.click("#reset")
        assert page.inner_text("#count") == "26 of 26 runs"

    def test_sorting_sorts_by_number_both_ways(self, page: Page) -> None:
        page.click("#heads th[data-name=test_acc]")
        down = [float(text) for text in cells_of(page, "test_acc")]
        page.click("#heads th[data-name=test_acc]")
        up = [float(text) for text in cells_of(page, "test_acc")]
        assert len(down) == 26
        assert down == sorted(down, reverse=True)
        assert up == sorted(up)

    def test_empty_cells_are_sorted_last(self, page: Page) -> None:
        for _ in range(2):
            page.click("#heads th[data-name=update_period]")
            assert cells_of(page, "update_period")[-6:] == [""] * 6

    def test_a_run_links_to_its_curves(self, page: Page) -> None:
        run = cells_of(page, "run_id")[3]
        page.click(f"text={run}")
        page.wait_for_selector("#run-loss .scatterlayer .trace")
        assert page.inner_text("#run-title") == run
        assert page.eval_on_selector("#run-acc", "chart => chart.data.map(trace => trace.x)") == [[1, 2, 3], [1, 2, 3]]
        page.click("#run-close")
        assert page.is_hidden("#run-panel")

    def test_an_unchecked_criterion_is_removed_from_the_chart(self, page: Page) -> None:
        def drawn() -> list[str]:
            names: list[str] = page.eval_on_selector("#accuracy-chart", "chart => chart.data.map(trace => trace.name)")
            return [name for name in names if name]

        page.wait_for_selector("#accuracy-chart .scatterlayer .trace")
        assert {"Magnitude", "SNIP", "Static"} <= set(drawn())
        page.uncheck("#lines input[value=snip]")
        assert "SNIP" not in drawn()
        assert "Magnitude" in drawn()

    def test_the_chart_shows_the_selected_growth(self, page: Page) -> None:
        for growth in ("gradient", "random"):
            page.select_option("#growth", growth)
            assert growth in page.eval_on_selector("#accuracy-chart", "chart => chart.layout.title.text")
