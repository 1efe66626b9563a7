"""What benchmarks share, by hand, and the table that is made of their last figures."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_a_row_has_medians_and_the_ratios_of_every_round():
    from harness import ratio_text, row, row_line, span

    found = row("work", {"ours": [1.0, 2.0, 4.0], "plain": [3.0, 8.0, 8.0]})
    assert found["ours"] == {"median": 2.0, "low": 1.0, "high": 4.0}
    assert found["ratio"] == {"median": 3.0, "low": 2.0, "high": 4.0}  # not 8 / 2
    assert row_line(found).split("work")[1].strip() == "2 (1-4) s, plain 8 (3-8) s: 3 (2-4) x"
    assert row("work", {"ours": [1.0]}) == {"what": "work", "ours": {"median": 1.0, "low": 1.0, "high": 1.0}}
    assert span({"median": 0.0123, "low": 0.01, "high": 1}) == "12.3 (10-1,000) ms"
    assert ratio_text({"median": 1 / 3, "low": 0, "high": 1}) == "0.333 (0-1)"


def test_sides_take_turns_and_each_is_first_at_times():
    from harness import alternate

    order: list[str] = []
    seconds = alternate({name: lambda name=name: order.append(name) for name in "ab"}, 2)
    assert order == ["b", "a", "a", "b"]
    assert [len(times) for times in seconds.values()] == [2, 2]


def test_the_page_shows_the_last_figures_of_every_benchmark():
    from all import MARKS, SHORT, markdown

    kept = {path.stem: json.loads(path.read_text()) for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert kept.keys() == SHORT.keys() | {"verdict", "verdict_trained"}  # no times: they have a page of their own
    assert all((ROOT / "benchmarks" / f"{name}.py").exists() for name in SHORT)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    (mark,) = re.finditer(MARKS, page, flags=re.DOTALL)
    assert mark[0] == mark[1] + markdown({name: kept[name] for name in SHORT}) + mark[2]
