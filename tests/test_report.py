"""The report: one page over the toy records, parsed."""

import dataclasses
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toy import GOLDEN, ODD, SPEC, toy_grid

from cotune_bench.reports.grid import Grid
from cotune_bench.reports.page import Part, report_html, table_html
from cotune_bench.reports.page.cells import setting_lines
from cotune_bench.reports.page.summary import sentences
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.storage import relationship_file

VOID = {"meta", "br", "hr", "link", "img", "input"}


class Page(HTMLParser):
    """Tags with attributes and text, after checking that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


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
    page = Page(table_html(grid, ["A <sentence>."]))
    assert [body for tag, body in page.tags if tag == "tbody"] == [{}, {"class": "baselines"}] * 2
    assert "A <sentence>." in page.text


def test_the_page_is_well_formed_and_needs_no_other_file(report):
    page = Page(report)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert not [one for one in ids if re.search(r"\s", one)]
    links = [one for name in ("src", "href", "xlink:href") for one in page.values(name)]
    assert {one[1:] for one in links if one.startswith("#")} <= set(ids)
    assert all(one.startswith(("#", "data:image/png")) for one in links)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"@import|url\((?!#)", report)


def test_names_and_failures_are_shown_as_they_are(report):
    assert "<script>alert" not in report
    assert ODD not in report
    text = Page(report).text
    for shown in (ODD, "<b>", "Seed 2 failed: ValueError: <script>alert(1)</script>"):
        assert shown in text


def test_twice_gives_the_same_bytes(report, results):
    assert report_html([toy_part(results, toy_grid())], ["table3"]) == report


def test_a_cell_leads_to_its_runs_their_settings_and_commands(report):
    hrefs = Page(report).values("href")
    assert {"#cell=toy/cub/finetune/0.15", "#cell=toy/a_b%20%26%20%3Cc%3E/my%7Cown%2A/1"} <= set(hrefs)
    start = report.index('<div id="cell=toy/cub/finetune/0.15"')
    text = Page(report[start : report.index("</details>\n<details>\n<summary>cub, Fine-tune, 100")]).text
    for shown in ("45.00", "45.30", "45.60", "2.5000", "12.5", "2026-01-01 00:00", "toy00", "torch: 2.15.0"):
        assert shown in text
    assert "cotune-bench run method=finetune data=cub rate=0.15 seed=1 method.weight=0.5 force=true" in text
    assert "protocol.split_order=split_then_sample" in text
    assert "seed=2 method.weight=0.5</pre>" in report  # a run without a record needs no force


def test_versions_that_differ_within_a_cell_name_their_units(report):
    text = Page(report).text
    assert "Versions, weights and data of seed 0, 1" in text
    assert "Versions, weights and data of seed 2" in text


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
    assert "No run has finished yet." in Page(report_html([], ["desk", "table2"])).text


def test_settings_leave_out_what_the_unit_sets():
    config = {"method": {"k": 1}, "rate": 0.15, "seed": 3, "protocol": {"drop_at": [200]}}
    assert setting_lines(config, "seed") == ["method.k=1", "rate=0.15", "protocol.drop_at=[200]"]
    config |= {"split_seed": 3, "backbone": {"seed": 3, "lr": 0.2}}
    assert setting_lines(config, "replicate")[2:] == ["protocol.drop_at=[200]", "backbone.lr=0.2"]
