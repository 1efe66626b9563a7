"""What README and docs/ say is what the program does: code is executed, commands are composed, names exist."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from cotune_bench import api
from cotune_bench.config import CONF, choices, compose_config
from cotune_bench.storage.records import COLUMNS, KINDS
from cotune_bench.training.provenance import environment

ROOT = Path(api.__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
TINY = ("backbone.weights=random",)


def code_blocks(path: Path, *languages: str) -> list[str]:
    """Fenced blocks of these languages; an empty one means blocks without."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [code for language, code in fenced if language in languages]


@pytest.fixture
def small(tmp_path, monkeypatch) -> None:
    """Networks are small and random, runs are short, the cache is empty: what is tested is that the code runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    whole = compose_config

    def composed(overrides):
        return whole(["protocol.updates=6", *overrides, *TINY])

    monkeypatch.setattr(api, "compose_config", composed)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_python_blocks_of_a_page_run_one_after_another(page, capsys):
    blocks = code_blocks(ROOT / page, "python")
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)  # noqa: S102
    assert "accuracy" in capsys.readouterr().out
    assert isinstance(names["fitted"], api.Fitted)


def test_the_readme_keeps_the_places_of_generated_pieces():
    for page, kinds in ((ROOT / "README.md", ["grid"]), (DOCS / "desk-benchmark.md", ["grid", "verdict"])):
        for kind in kinds:
            piece = rf"^<!-- {kind}:desk_full -->\n.+?^<!-- end -->$"
            assert re.search(piece, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", choices("method"))
def test_the_page_of_a_method_lists_every_setting_with_its_default(name):
    text = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    values = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
    told = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", text, re.MULTILINE))
    knobs = {key: str(value) for key, value in values.items() if key not in ("_target_", "name", "tune", "defaults")}
    assert told == knobs
    for knob, grid in values["tune"].items():
        assert f"`{knob}`" in text
        ends = (grid[0], grid[-1])
        assert all(str(value) in text for value in ends), f"{knob}: {grid}"
    assert f"(`method={name}`)" in text
    assert f"(`method={name}`)" not in (DOCS / "methods" / "README.md").read_text(encoding="utf-8")


def pages_of(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for item in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(item)]


def test_every_page_is_in_the_navigation_once_and_there():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    there, named = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}, pages_of(nav)
    assert there - set(named) == set(), "name these pages under nav in mkdocs.yml"
    assert set(named) - there == set(), "no such pages"
    assert len(named) == len(there)


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("zensical", reason="make docs installs it")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert len(built) == len(list(DOCS.rglob("*.md"))) + 1  # 404.html
    for page in built:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^>]*", text)
        assert [tag for tag in loaded if 'rel="canonical"' not in tag] == []


def test_links_lead_to_files_and_headings():
    for path in PAGES:
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            found = (path.resolve().parent / file) if file else path
            assert found.exists(), (path, target)
            if DOCS in path.parents:
                assert DOCS in found.resolve().parents or found.is_relative_to(DOCS), (path, target)
            assert not anchor or anchor in anchors(found), (path, target)


def anchors(path: Path) -> set[str]:
    """Of a page's headings, as the site and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_the_results_page_lists_every_field_and_column():
    text = (DOCS / "results-format.md").read_text(encoding="utf-8")
    record, rest = text.split("## A record")[1].split("| field of `environment`")
    fields = re.findall(r"^\| (`.*`) \| (?:text|number|integer|object)", record, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", "".join(fields))) == sorted(KINDS | {"schema": int, "sha256": str})
    rows = re.findall(r"^\| (`.*?`) \|", rest.partition("```")[0], re.MULTILINE)
    known = environment(torch.device("cpu")).keys() | {"precision", "compile"}
    assert known <= set(re.findall(r"`(\w+)`", "".join(rows)))
    columns = text.split("with the meaning above: ")[1].partition(". `accuracy` and `nll` are")[0]
    assert re.findall(r"`(\w+)`", columns) == COLUMNS


def test_the_pages_list_existing_settings_with_their_defaults():
    config = compose_config([])
    told = re.findall(
        r"^\| `(\w+)` \| `?([\w.]+)`?(?: \||,)", (DOCS / "performance.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(told) >= 5
    for name, default in told:
        assert str(config[name]).lower() == default


def test_the_page_of_settings_is_that_of_the_yaml_files():
    written = runpy.run_path(str(ROOT / "scripts" / "settings_page.py"))["page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == written
    for name in (
        "keep_checkpoint",
        "protocol.updates",
        "data.test_share",
        "method.trade_off",
        "backbone.temperature",
    ):
        assert f"| `{name}` |" in written
