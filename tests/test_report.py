"""The report: one page over the toy records, parsed; what only a browser can tell is in test_report_browser.py."""

import dataclasses
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toy import GOLDEN, ODD, SPEC, toy_grid

from cotune_bench.reports.build import run_frame
from cotune_bench.reports.grid import Grid, build_grid
from cotune_bench.reports.page import Part, report_html, table_html, text_columns
from cotune_bench.reports.page.curves import POINTS, curve_svg, read_curve, thinned
from cotune_bench.reports.page.drill import anchor, setting_lines
from cotune_bench.reports.page.summary import sentences
from cotune_bench.reports.status import CellStatus, TableStatus
from cotune_bench.storage.records import Record, RecordStore

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

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


def toy_status(grid: Grid) -> TableStatus:
    """The toy grid's cells; the first missing one failed, with markup in its reason."""
    cells = []
    for cell in grid.cells:
        for seed in grid.spec.units:
            found = seed in dict(cell.values)
            failed = (cell.data, cell.method, seed) == ("cub", "cotuning", 2) and not found
            state = "done" if found else "failed" if failed else "missing"
            told = "ValueError: <script>alert(1)</script>" if failed else ""
            cells.append(CellStatus(cell.data, cell.method, cell.rate, seed, state, told, grid.spec.unit))
    return TableStatus("toy", "results", cells, ["method.weight=0.5"])


def toy_part(results: Path) -> Part:
    grid = toy_grid()
    return Part(grid, "table2", toy_status(grid), results)


def results_of(folder: Path) -> Path:
    """A results folder with the toy records and the curve of one run."""
    shutil.copytree(GOLDEN / "records", folder / "records")
    run = folder / "runs" / "toy00"
    run.mkdir(parents=True)
    rows = [f"{update},0.01,{3 / update:.8g},{1 / update:.8g},{4 / update:.8g}" for update in range(1, 301)]
    (run / "metrics.csv").write_text("\n".join(["updates,lr,ce,<b>,loss", *rows, "301,0.0"]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return results_of(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def report(results) -> str:
    return report_html([toy_part(results)], ["table3"])


def test_the_table_equals_the_golden_file():
    content = table_html(toy_grid())
    body = content[content.index("<body>") :]  # the style is no fact
    if os.environ.get("COTUNE_UPDATE_GOLDEN") == "1":
        (GOLDEN / "toy.html").write_text(body, encoding="utf-8")
    assert body == (GOLDEN / "toy.html").read_text(encoding="utf-8"), (
        "if this is wanted: COTUNE_UPDATE_GOLDEN=1 pytest tests/test_report.py"
    )


def test_baselines_have_a_body_of_their_own_and_the_verdict_stands_below():
    grid = toy_grid(dataclasses.replace(SPEC, methods=SPEC.methods[:3], baselines=SPEC.methods[3:]))
    text = table_html(grid, ["A <sentence>."])
    assert [body for tag, body in Page(text).tags if tag == "tbody"] == [{}, {"class": "baselines"}] * 2
    assert "A <sentence>." in Page(text).text
    assert text.count('<tbody class="baselines">\n<tr><th scope="row">my|own*</th>') == 2


def test_the_page_is_well_formed_and_its_ids_are_its_own(report):
    page = Page(report)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert not [one for one in ids if re.search(r"\s", one)]
    targets = [one[1:] for one in page.values("href") if one.startswith("#")]
    assert set(targets) <= set(ids)


def test_nothing_is_fetched(report):
    page = Page(report)
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not [one for name in ("src", "href", "xlink:href") for one in page.values(name) if not one.startswith("#")]
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", report)


def test_names_and_failures_are_shown_as_they_are(report):
    assert "<script>alert" not in report
    assert ODD not in report
    page = Page(report)
    assert ODD in page.text
    assert "failed: ValueError: <script>alert(1)</script>" in page.text
    assert page.text.count("<b>") > 0  # a loss term's name


def test_twice_gives_the_same_bytes(report, results):
    assert report_html([toy_part(results)], ["table3"]) == report


def test_a_cell_tells_its_runs(report):
    page = Page(report)
    assert anchor("toy", toy_grid().cells[0]) == "cell=toy/cub/finetune/0.15"
    assert "cell=toy/a_b%20%26%20%3Cc%3E/my%7Cown%2A/1" in page.values("id")
    start = report.index('id="cell=toy/cub/finetune/0.15"')
    cell = Page(
        report[start - len("<div ") : report.index("</details>\n<details>\n<summary><span>cub, Fine-tune, 100")]
    )
    for text in ("45.00 %", "45.30 %", "45.60 %", "2.5000", "12.5 s", "2026-01-01 00:00", "toy00", "torch: 2.15.0"):
        assert text in cell.text
    assert "cotune-bench run method=finetune data=cub rate=0.15 seed=1 method.weight=0.5 force=true" in cell.text
    assert "protocol.split_order=split_then_sample" in cell.text
    assert [tag for tag, _ in cell.tags].count("polyline") == 3
    assert cell.text.count("No training curve") == 2


def test_a_missing_run_has_a_command_that_does_not_force(report):
    assert "seed=2 method.weight=0.5</code>" in report


def test_versions_that_differ_within_a_cell_are_told_apart(report):
    text = Page(report).text
    assert "Versions, weights and data of seed 0, 1" in text
    assert "Versions, weights and data of seed 2" in text


def test_summary_in_words():
    grid = toy_grid()
    told = dict(sentences(grid, "table2", toy_status(grid)))
    assert told["What was run"] == (
        "21 of 48 runs: Fine-tune, BSS, Co-Tuning and my|own* on cub and a_b & <c>, at 15 % and 100 % of the "
        "training images, seeds 0, 1 and 2."
    )
    assert told["What is best"].startswith("No verdict: the repetitions are training seeds on one split")
    # of 8 cells with runs, 2 are of a data set that was not published and 1 of a method that was not;
    # Co-Tuning: (49.25 - 52.58 + 80.8333 - 81.24) / 2 = -1.87
    assert told["Published numbers"] == (
        "Mean difference over 5 cells with both values: Fine-tune +0.07, BSS -0.04, Co-Tuning -1.87 points."
    )
    assert told["What is missing"] == "27 runs, in 10 cells; 1 of them failed."


def test_a_table_of_replicates_has_its_verdict_and_its_gains(report):
    grid = toy_grid(dataclasses.replace(SPEC, unit="replicate"))
    told = dict(sentences(grid, None, toy_status(grid)))
    assert "replicates 0, 1 and 2." in told["What was run"]
    assert told["What is best"].startswith("Of 2 columns (3 replicates): Co-Tuning is best in 1")
    assert not re.search(r"\bp =|95 % interval", Page(report).text)  # the toy table is one of training seeds


def test_a_page_without_runs_says_so(tmp_path):
    assert "No run has finished yet." in Page(report_html([], ["desk", "table2"])).text


def test_curves_are_thinned_and_damaged_rows_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_curve(path) is None
    path.write_text("updates,lr,ce,loss\n", encoding="utf-8")
    assert read_curve(path) is None
    path.write_text("updates,lr,ce,loss\n1,0.1,2,2\n2,0.1,nan,nan\n3,0.1,1,1\n4,0.", encoding="utf-8")
    curve = read_curve(path)
    assert curve.updates == (1, 3)
    assert curve.terms == {"ce": (2, 1)}  # the loss would be the same line
    svg = curve_svg(curve, "seed 7")
    assert 'points="0.0,0.0 240.0,36.0"' in svg
    assert 'aria-label="Loss of seed 7 from update 1 to 3: ce 2 to 1"' in svg
    rows = thinned([[float(n)] for n in range(1000)])
    assert len(rows) == POINTS
    assert (rows[0], rows[-1]) == ([0.0], [999.0])


def test_settings_as_lines_that_the_command_line_takes():
    config = {"method": {"k": 1}, "rate": 0.15, "seed": 3, "protocol": {"drop_at": [200]}}
    assert setting_lines(config, "seed") == ["method.k=1", "rate=0.15", "protocol.drop_at=[200]"]
    config |= {"split_seed": 3, "backbone": {"seed": 3, "lr": 0.2}}
    assert setting_lines(config, "replicate")[2:] == ["protocol.drop_at=[200]", "backbone.lr=0.2"]


def test_columns_of_words():
    assert text_columns([["Rate", "Best", "p"], ["15 %", "–", "<0.001"], ["30 %", "BSS", "–"]]) == {1}


def test_many_runs_stay_a_few_megabytes(tmp_path):
    """504 runs with full configurations and curves."""
    methods = [f"method{number}" for number in range(14)]
    spec = dataclasses.replace(SPEC, methods=tuple(methods), rates=(0.15, 0.3, 0.5, 1.0), data=("a", "b", "c"))
    record = json.loads((GOLDEN / "records" / "toy00.json").read_text(encoding="utf-8"))
    config = {"protocol": {f"setting{n}": n for n in range(40)} | record["config"]["protocol"], "split_seed": 0}
    store = RecordStore(tmp_path)
    store.folder.mkdir()
    places = [(d, m, r, s) for d in spec.data for m in methods for r in spec.rates for s in spec.units]
    for number, (data, method, rate, seed) in enumerate(places):
        own = {"key": f"r{number}", "data": data, "method": method, "rate": rate, "seed": seed, "config": config}
        store.path(f"r{number}").write_text(Record(**(record | own)).to_json(), encoding="utf-8")
        run = tmp_path / "runs" / f"r{number}"
        run.mkdir(parents=True)
        rows = [f"{update},0.01,{3 / update:.8g},{1 / update:.8g},{4 / update:.8g}" for update in range(1, 301)]
        (run / "metrics.csv").write_text("\n".join(["updates,lr,ce,source,loss", *rows]), encoding="utf-8")
    grid = build_grid(spec, run_frame(store.read()[0])[0])
    assert len(report_html([Part(grid, None, toy_status(grid), tmp_path)], [])) < 5e6
