"""The report: one page over the toy records, parsed."""

import dataclasses
import html
import os
import re
import shutil
from pathlib import Path

import pytest
from toy import GOLDEN, ODD, SPEC, toy_grid

from cotune_bench.reports.grid import Grid
from cotune_bench.reports.page import Part, report_html, sentences, table_html
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.storage import relationship_file


def shown(page: str) -> str:
    """The words of a page."""
    return " ".join(html.unescape(re.sub(r"<(style|svg).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


def toy_part(results: Path, grid: Grid) -> Part:
    """The toy grid's cells; the first missing one failed, with markup in its reason."""
    cells = []
    for cell in grid.cells:
        for unit in grid.spec.units:
            found = unit in dict(cell.values)
            failed = (cell.data, cell.method, unit) == ("cub", "cotuning", 2) and not found
            state = "done" if found else "failed" if failed else "missing"
            why = "ValueError: <script>alert(1)</script>" if failed else ""
            cells.append(CellStatus(cell.data, cell.method, cell.rate, unit, state, why, grid.spec.unit))
    return Part(grid, "table2", TableStatus("toy", "results", cells, ["method.weight=0.5"]), results)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A results folder with the toy records, and a category relationship, whose figure contains a bitmap."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(GOLDEN / "records", folder / "records")
    (folder / "runs" / "toy00").mkdir(parents=True)
    text = relationship_file.to_csv([[0.9, 0.1]], ("<b>",), ("cat", "dog"))
    (folder / "runs" / "toy00" / relationship_file.FILE).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def report(results) -> str:
    return report_html([toy_part(results, toy_grid())], ["table3"])


def test_the_table_equals_the_golden_file():
    content = table_html(toy_grid())
    body = content[content.index("<body>") :]  # without the style
    if os.environ.get("COTUNE_UPDATE_GOLDEN") == "1":
        (GOLDEN / "toy.html").write_text(body, encoding="utf-8")
    assert body == (GOLDEN / "toy.html").read_text(encoding="utf-8"), (
        "if this is wanted: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_report.py"
    )


def test_baselines_have_a_body_of_their_own_and_the_verdict_stands_below():
    grid = toy_grid(dataclasses.replace(SPEC, methods=SPEC.methods[:3], baselines=SPEC.methods[3:]))
    text = table_html(grid, ["A <sentence>."])
    assert text.count('<tbody class="baselines">\n<tr><th scope="row">my|own*</th>') == len(SPEC.data)
    assert "A <sentence>." in shown(text)


def test_the_page_needs_no_other_file_and_its_links_lead_somewhere(report):
    ids = re.findall(r'\bid="([^"]+)"', report)
    assert len(ids) == len(set(ids))
    links = re.findall(r'\b(?:src|href)="([^"]+)"', report)
    assert {one[1:] for one in links if one.startswith("#")} <= set(ids)
    assert all(one.startswith(("#", "data:image/png")) for one in links)
    assert not re.search(r"<(script|link|img|iframe|object)\b|@import|url\((?!#)", report)


def test_names_and_failures_are_shown_as_they_are(report):
    assert "<script>alert" not in report
    assert ODD not in report
    for text in (ODD, "<b>", "Seed 2 failed: ValueError: <script>alert(1)</script>"):
        assert text in shown(report)


def test_a_cell_leads_to_its_runs_their_settings_and_commands(report):
    assert 'href="#cell=toy/a_b%20%26%20%3Cc%3E/my%7Cown%2A/1"' in report
    start = report.index('<div id="cell=toy/cub/finetune/0.15"')
    cell = shown(report[start : report.index("<summary>cub, Fine-tune, 100")])
    for text in ("45.00", "45.30", "45.60", "2.5000", "12.5", "2026-01-01 00:00", "toy00", "torch: 2.15.0"):
        assert text in cell
    assert "Record Changed 0 45.00" in cell
    assert "cotune-bench run method=finetune data=cub rate=0.15 seed=1 method.weight=0.5 force=true" in cell
    assert "protocol.split_order=split_then_sample" in cell
    assert "seed=2 method.weight=0.5</pre>" in report  # a run without a record needs no force
    assert "Settings, versions, weights and data of seed 0, 1" in report


def test_summary_in_words(tmp_path):
    grid = toy_grid()
    answers = dict(sentences(grid, "table2", toy_part(tmp_path, grid).status))
    assert answers["What was run"] == (
        "21 of 48 runs: Fine-tune, BSS, Co-Tuning and my|own* on cub and a_b & <c>, at 15 % and 100 % of the "
        "training images, seeds 0, 1 and 2."
    )
    assert answers["What is best"].startswith("No verdict: the repetitions are training seeds on one split")
    # of 8 cells with runs, 2 are of a data set that was not published and 1 of a method that was not;
    # Co-Tuning: (49.25 - 52.58 + 80.8333 - 81.24) / 2 = -1.87
    assert answers["Published numbers"] == (
        "Mean difference over 5 cells with both values: Fine-tune +0.07, BSS -0.04, Co-Tuning -1.87 points."
    )
    assert answers["What is missing"] == "27 runs, in 10 cells; 1 of them failed."
    replicates = toy_grid(dataclasses.replace(SPEC, unit="replicate"))
    answers = dict(sentences(replicates, None, toy_part(tmp_path, replicates).status))
    assert answers["What is best"].startswith("Of 2 columns (3 replicates): Co-Tuning is best in 1")


def test_a_page_without_runs_says_so():
    assert "No run has finished yet." in report_html([], ["desk", "table2"])
