"""The report in a real browser: its comparison against SciPy, its links, its CSV, narrow, dark and printed pages."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import load_runs
from analysis.paired import holm

Page = Any
pytestmark = pytest.mark.browser


def shown_rows(page: Page) -> list[dict[str, Any]]:
    """Returns label, differences and numbers (mean, interval, p, Holm's p) of each row of the comparison."""
    read = "rows => rows.map(r => [r.cells[0].innerText, r.dataset.differences, r.dataset.numbers])"
    found = page.eval_on_selector_all("#compare-body tr", read)
    return [{"label": label, "differences": json.loads(d), "numbers": json.loads(n)} for label, d, n in found]


def choose(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.select_option(f"[id='{name.replace('_', '.', 1)}']", value)


def test_compared_runs_share_seed_and_settings_and_the_numbers_are_those_of_scipy(page: Page, trained: Path) -> None:
    choose(page, a_line="snip", b_line="magnitude")
    rows = shown_rows(page)
    runs = load_runs(trained)
    keys = ["growth", "density", "update_period", "seed"]
    snip, magnitude = (
        runs[(runs["method"] == "dst") & (runs["criterion"] == name)].set_index(keys)["test_acc"]
        for name in ("snip", "magnitude")
    )
    expected = (100 * (snip - magnitude)).round(7)
    assert [row["label"] for row in rows] == ["density 0.1", "density 0.2"]
    for row, density in zip(rows, (0.1, 0.2), strict=True):
        here = expected[expected.index.get_level_values("density") == density].to_numpy()
        assert sorted(row["differences"]) == pytest.approx(sorted(here))
        mean, (low, high), p, _ = row["numbers"]
        assert mean == pytest.approx(here.mean())
        assert p == pytest.approx(stats.wilcoxon(here).pvalue if here.any() else 1.0)
        drawn = stats.bootstrap((here,), np.mean, method="percentile", rng=0).confidence_interval
        assert (low, high) == pytest.approx((drawn.low, drawn.high), abs=0.2 * here.std() + 1e-9)
    adjusted = holm(pd.Series([row["numbers"][2] for row in rows]))
    assert [row["numbers"][3] for row in rows] == pytest.approx(adjusted.tolist())
    assert "critical distance" in page.inner_text("#compare-ranks")
    assert "Average ranks: A" in page.inner_text("#compare-ranks")


def test_a_static_run_is_paired_with_every_growth(page: Page) -> None:
    choose(page, a_line="snip", b_line="static")
    page.select_option("#compare-rows", "*")
    assert len(shown_rows(page)) == 5  # two growths and densities at one period, one more period
    assert {len(row["differences"]) for row in shown_rows(page)} == {2}


def test_the_tests_of_the_page_agree_with_scipy_with_ties_zeros_and_many_pairs(page: Page) -> None:
    draw = np.random.default_rng(0)
    samples = {
        "exact": draw.normal(0.3, 1, 9),
        "exact, fifty": draw.normal(0.2, 1, 50),
        "normal": draw.normal(0.2, 1, 51),
        "exact, tied": np.array([1, 1, 2, -1, 3, 0, 2, 2.0]),
        "normal, tied": draw.integers(-2, 5, 30).astype(float),
        "normal, tail": np.abs(draw.normal(3, 1, 200)),
    }
    for name, values in samples.items():
        found = page.evaluate("values => wilcoxon(values)", values.tolist())
        assert found["method"] == name.partition(",")[0], name
        assert found["p"] == pytest.approx(stats.wilcoxon(values).pvalue, rel=1e-9), name
    assert page.evaluate("wilcoxon([0, 0, 0])")["p"] == 1
    assert page.evaluate("wilcoxon([1])")["p"] is None
    p_values = [0.04, 0.01, None, 0.03, 0.5]
    assert page.evaluate("values => holm(values)", p_values) == pytest.approx([0.09, 0.04, None, 0.09, 0.5])


def test_the_address_restores_filters_sorting_and_comparison(page: Page) -> None:
    page.select_option("#filters select[data-name=line]", "snip")
    page.fill("#search", "gradient")
    page.click("#heads th[data-name=test_acc]")
    choose(page, a_line="snip", b_line="static")
    before = (page.inner_text("#rows"), page.inner_text("#compare-body"))
    page.click("nav a[href='#findings']")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#count") == "4 of 26 runs"
    assert (page.inner_text("#rows"), page.inner_text("#compare-body")) == before
    page.click("#reset")
    assert page.inner_text("#count") == "26 of 26 runs"
    assert page.inner_text("#compare-body") == before[1]


def test_the_copied_link_opens_the_same_runs(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.select_option("#filters select[data-name=density]", "0.2")
    page.click("#link")
    page.wait_for_function("document.getElementById('link').textContent === 'copied'")
    link = page.evaluate("navigator.clipboard.readText()")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#count") == "10 of 26 runs"


def test_the_csv_has_the_filtered_runs_unrounded(page: Page, trained: Path) -> None:
    page.select_option("#filters select[data-name=line]", "snip")
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.suggested_filename == "runs.csv"
    table = pd.read_csv(io.StringIO(Path(download.value.path()).read_text()), dtype={"run_id": str})
    runs = load_runs(trained).set_index("run_id").loc[table["run_id"]]
    assert set(table["line"]) == {"snip"}
    assert len(table) == 10
    np.testing.assert_allclose(table["test_acc"], runs["test_acc"], atol=1e-9)
    np.testing.assert_allclose(table["cost_flops"], runs["flops_training"].astype(float))


def test_training_cost_is_drawn_as_means_over_seeds(page: Page, trained: Path) -> None:
    page.wait_for_selector("#trade-chart .scatterlayer .trace")
    read = "chart => chart.data.map(t => [t.name, t.x, t.y, t.error_y.array])"
    drawn = {name: rest for name, *rest in page.eval_on_selector("#trade-chart", read)}
    runs = load_runs(trained)
    static = runs[runs["method"] == "static"].groupby("density")
    x, y, std = drawn["Static"]
    np.testing.assert_allclose(x, sorted(static["flops_training"].mean()))
    np.testing.assert_allclose(y, 100 * static["test_acc"].mean())
    np.testing.assert_allclose(std, 100 * static["test_acc"].std())
    assert len(drawn) == 8  # dense, static, two criteria with two growths at one period and one growth at another


def test_a_page_of_400_pixels_is_as_wide_as_its_window_in_both_schemes(page: Page) -> None:
    choose(page, a_line="snip", b_line="magnitude")
    page.set_viewport_size({"width": 400, "height": 800})
    for scheme, card in (("light", "white"), ("dark", "#1b222a")):
        page.emulate_media(color_scheme=scheme)
        paper = "document.getElementById('accuracy-chart').layout.paper_bgcolor"
        page.wait_for_function(f"{paper} === '{card}' && document.documentElement.scrollWidth === 400")  # resized


def test_a_printed_page_has_light_figures_and_no_controls(page: Page) -> None:
    page.emulate_media(color_scheme="dark", media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.eval_on_selector("#accuracy-chart", "chart => chart.layout.paper_bgcolor") == "white"
    controls = page.eval_on_selector_all(
        "button, select, input, nav", "all => all.filter(one => one.offsetParent).length"
    )
    assert controls == 0
    widths = page.eval_on_selector_all(".chart svg.main-svg", "all => all.map(s => s.getBoundingClientRect().right)")
    assert max(widths) <= 700
    page.emulate_media(media="screen")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.wait_for_function("document.querySelector('#accuracy-chart svg.main-svg').getBoundingClientRect().width > 700")
