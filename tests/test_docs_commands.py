"""Every command line in README and docs/ is one that the program takes; the example method is added and run."""

import functools
import inspect
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image
from test_docs import DOCS, PAGES, ROOT, TINY, code_blocks

from cotune_bench import cli, methods
from cotune_bench.config import axes, check_sweep, choices, groups
from cotune_bench.config.tables import load_table, table_sweeps

MAKE = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
#: Settings that a command has beside those of a run, where it takes these.
OVERRIDES = {
    "run": (),
    "tables": (),
    "plan": (),
    "relationship": ("top",),
    "status": (),
    "tune": ("replicates", "jobs"),
}
#: Launchers that need a package which the tests do not.
ELSEWHERE = ("ray", "slurm", "submitit_local")
#: What the page on adding a method adds.
ADDED = "hint"


def commands(path: Path) -> list[str]:
    """Command lines in the code of a page, fenced or indented, joined where they go on, without comments."""
    text = path.read_text(encoding="utf-8")
    code = code_blocks(path, "", "bash", "sh", "console")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    code.append("\n".join(re.findall(r"^ {4}(.*)$", prose, re.MULTILINE)))
    lines = "\n".join(code).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if re.match(r"\s*(python|make|pip|cotune-bench) ", line)]


COMMANDS = sorted({command for path in PAGES for command in commands(path)})


def words(command: str) -> list[str]:
    """Words of a command, less comments and the dots for what is left out."""
    return [word for word in shlex.split(command, comments=True) if not word.endswith("...")]


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory) -> Iterator[None]:
    """A working directory with every folder of images that a command names."""
    here = tmp_path_factory.mktemp("commands")
    for place in set(re.findall(r"(?:data\.root=|--data )(?:~/)?([\w-]+)", "\n".join(COMMANDS))):
        for kind in ("cats", "dogs"):
            (here / place / kind).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(here / place / kind / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("HOME", str(here))
        patch.setenv("COTUNE_CACHE", str(here / "cache"))
        yield


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_the_program_takes(command):
    program, *rest = words(command)
    if program == "make":
        assert next(word for word in rest if "=" not in word) in MAKE
    elif program == "pip":
        extras = re.findall(r"\[([\w,]+)\]", command)
        known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert all(f"\n{extra} = [" in known for names in extras for extra in names.split(","))
    elif program == "cotune-bench":
        named = rest and rest[0] in cli.COMMANDS
        check_command(rest[0] if named else "run", rest[1:] if named else rest)
    else:
        assert rest[0] in ("-m", "-c") or (ROOT / rest[0]).is_file()


def check_command(name: str, arguments: list[str]) -> None:
    """Its source knows the options, and its settings are its own or compose."""
    source = inspect.getsource(import_module(f"cotune_bench.cli.{name.replace('-', '_')}"))
    for option in [word for word in arguments if word.startswith("-")]:
        assert f'"{option}"' in source, f"{option} is not an option of {name}"
    settings = [word for word in arguments if "=" in word and not word.startswith("-")]
    if name == "prepare-data":
        assert arguments[0] in (*choices("data"), "NAME")
    if name in OVERRIDES:
        check_overrides([word for word in settings if word.partition("=")[0] not in OVERRIDES[name]])


def check_overrides(given: list[str]) -> None:
    if f"method={ADDED}" in given:  # it is added and run below
        return
    if any(word.startswith(f"hydra/launcher={name}") for word in given for name in ELSEWHERE):
        given = [word for word in given if not word.lstrip("+").startswith("hydra")]
    tables = [word.partition("=")[2] for word in given if word.startswith("table=")]
    overrides = [word for word in given if not word.startswith("table=")]
    known = tables and tables[0] in choices("table")
    if known:  # the table's own values are those of test_config.py
        sweep = next(chain(*table_sweeps(load_table(tables[0]), overrides)))
        overrides = [
            text if text in overrides else values[0] for text, values in zip(sweep, axes(sweep), strict=True)
        ]
    composes(*overrides)


@functools.cache
def composes(*sweep: str) -> None:
    """Many commands run the same table."""
    check_sweep(sweep)


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_explains_itself(path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out) > 100


def test_the_first_page_s_commands_run(ask):
    known = commands(DOCS / "index.md")
    first = next(command for command in known if "replicate=0" in command and "-m" not in command)
    done = ask(*words(first)[1:], *TINY, "protocol.updates=2", "device=cpu")
    assert "digits cotuning rate 0.15 replicate 0: " in done.out
    for command, text in (("results list", "1 record"), ("status table=desk", "63")):
        assert f"cotune-bench {command}" in known
        assert text in ask(*command.split()).out


def test_the_method_of_30_lines_joins_a_checkout_and_meets_the_contract(tmp_path, monkeypatch):
    page = DOCS / "add-a-method.md"
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == [f"src/cotune_bench/methods/{ADDED}.py", f"conf/method/{ADDED}.yaml"]
    assert sum(bool(line.strip()) for _, content in files for line in content.splitlines()) <= 30
    copy = tmp_path / "checkout"
    for folder in ("src", "conf", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name, content in files:
        (copy / name).write_text(content, encoding="utf-8")
    known = [words(command) for command in commands(page)]
    (contract,) = (rest for program, *rest in known if program == "python")
    done = subprocess.run(
        [sys.executable, *contract],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = next(rest for program, *rest in known if program == "cotune-bench" and "-m" not in rest)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(groups, "CONF", copy / "conf")
    monkeypatch.setattr(methods, "__path__", [str(copy / "src" / "cotune_bench" / "methods")])
    assert cli.main([*first, *TINY, "protocol.updates=4", "device=cpu"]) == 0
    terms = next((tmp_path / "results" / "runs").glob("*/metrics.csv")).read_text(encoding="utf-8").splitlines()[0]
    assert terms == "updates,lr,ce,hint,loss"
