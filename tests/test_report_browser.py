"""The report in headless Chromium: its addresses sort and open, nothing overflows a phone, no complaints."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_report import results_of, toy_part

from cotune_bench.reports.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--hide-scrollbars"),
    "--virtual-time-budget=2000",
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    results = results_of(tmp_path_factory.mktemp("browser"))
    return write_report([toy_part(results)], [], results)


def opened(path: Path, fragment: str = "") -> str:
    """The page's document after its scripts ran, once the console stayed silent."""
    profile = path.parent / "profile"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", f"{path.as_uri()}{fragment}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not re.findall(r".*:CONSOLE.*", ended.stderr)
    return ended.stdout


def grid(page: str) -> str:
    return page[page.index('<table id="toy"') : page.index("</table>")]


def methods(page: str) -> list[str]:
    return re.findall(r'<th scope="row">([^<]+)', grid(page))


def test_sorting_by_address_keeps_data_sets_together_and_missing_last(report):
    page = opened(report, "#sort=toy/1/descending")
    assert methods(page) == [
        *("Co-Tuning", "BSS", "Fine-tune", "my|own*"),  # 49.25, 47.70, 45.30, 12.50
        *("Co-Tuning", "Fine-tune", "BSS", "my|own*"),  # 35.40, 31.50, then without runs as they were
    ]
    assert re.findall(r'aria-sort="(\w+)"[^>]*><button type="button">([^<]+)', grid(page)) == [("descending", "15 %")]
    up = methods(opened(report, "#sort=toy/1/ascending"))
    assert up[:4] == ["my|own*", "Fine-tune", "BSS", "Co-Tuning"]
    assert up[4:] == ["Fine-tune", "Co-Tuning", "BSS", "my|own*"]


def test_a_cell_opens_by_address_and_only_that(report):
    for place in ("cell=toy/cub/cotuning/0.15", "cell=toy/a_b%20%26%20%3Cc%3E/cotuning/0.15"):
        page = opened(report, f"#{place}")
        assert re.findall(r'<details open="">.*?<div id="([^"]+)"', page, re.DOTALL) == [place]
        assert re.findall(r'<a href="#([^"]+)" aria-current="true">', page) == [place]
        assert page.count('<button type="button">Copy</button>') == 3 * 16  # each run of each cell


def test_an_unknown_address_changes_nothing(report):
    page = opened(report)
    assert opened(report, "#sort=nothing/1/ascending") == page
    assert opened(report, "#sort=toy/99/ascending") == page
    assert opened(report, "#cell=toy/none") == page


def test_clicks_and_keys(report):
    """A heading is a button: three presses give one order, the other, and the first again; a value opens its runs."""
    script = """
      const heads = [...document.querySelectorAll("#toy th button")];
      const order = () => [...document.querySelectorAll("#toy tbody th[scope=row]")].map((one) => one.textContent[0]);
      const seen = [order().join("")];
      for (let press = 0; press < 3; press++) { heads[1].click(); seen.push(order().join("")); }
      document.querySelector("#toy td a").click();
      const open = document.querySelector(".drill > details[open] div").id;
      const keys = heads.every((one) => one.tabIndex === 0);
      document.title = [...seen, open, document.activeElement.tagName, keys].join(" ");
    """
    page = report.with_name("clicked.html")
    page.write_text(report.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>"))
    told = re.search(r"<title>(.*?)</title>", opened(page))
    assert told
    assert told[1] == "FBCmFBCm CBFmCFBm mFBCFCBm FBCmFBCm cell=toy/cub/finetune/0.15 SUMMARY true"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_is_wider_than_its_window(report, width):
    """In a frame, because a headless window has a least width."""
    inner = report.read_text(encoding="utf-8").replace("<details", "<details open")
    page = report.with_name("frame.html")
    page.write_text(
        f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{html.escape(inner)}"></iframe>'
        "<script>const frame = document.querySelector('iframe'); frame.onload = () => "
        "{ document.title = frame.contentDocument.documentElement.scrollWidth; };</script>",
        encoding="utf-8",
    )
    assert f"<title>{width}</title>" in opened(page)
