"""scripts/doctor.py: what is there, what is not needed, and what is wrong with its remedy."""

import hashlib
import json
import runpy
import sys
from pathlib import Path

import pytest
import trees
from kept_runs import SCRIPTS, put_pets

from cotune_bench.cli import doctor
from cotune_bench.cli.doctor import NONE, OK, WRONG

RUN = runpy.run_path(str(SCRIPTS / "doctor.py"))["main"]
PROJECT = """[project]
requires-python = ">={least}"
dependencies = {needed}
[project.optional-dependencies]
{extras}
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder with a cache and data of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def asked(capsys, *overrides: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Exit code, and (state, text) of every line by its topic."""
    code = RUN(["--json", *overrides])
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] == (code == 0)
    lines: dict[str, list[tuple[str, str]]] = {}
    for line in told["lines"]:
        lines.setdefault(line["topic"], []).append((line["state"], line["text"]))
    return code, lines


def test_a_fresh_checkout_is_fine_and_nothing_is_written(here, capsys):
    code, lines = asked(capsys)
    assert code == 0
    assert lines["python"][0][1].startswith(".".join(map(str, sys.version_info[:3])))
    assert lines["device"][-1][1].startswith("cpu: ")
    assert "precision=auto is " in lines["device"][-1][1]
    data = {text.split()[0].rstrip(":"): (state, text) for state, text in lines["data"]}
    assert data["digits"] == (OK, "digits: 10 classes, 898 train, 899 test")
    assert data["cub"] == (
        NONE,
        "cub is not in data/CUB_200_2011: python scripts/prepare_data.py cub, if you want it",
    )
    assert {state for state, _ in lines["data"]} == {OK, NONE}
    assert list(here.iterdir()) == []


def test_old_and_missing_packages_are_told_first_and_alone(here, capsys, monkeypatch):
    project = here / "pyproject.toml"
    needed = '["numpy>=999.1", "no-such-package>=2", "pillow>=1.0"]'
    project.write_text(PROJECT.format(least="3.11", needed=needed, extras=""))
    monkeypatch.setattr(doctor, "PYPROJECT", project)
    code, lines = asked(capsys)
    assert code == 1
    assert list(lines) == ["python", "package"]
    (first, second) = (text for _, text in lines["package"])
    assert first.startswith("numpy ")
    assert first.endswith("is older than 999.1: pip install 'numpy>=999.1'")
    assert second == "no-such-package is not installed: pip install 'no-such-package>=2'"


def test_an_extra_that_is_not_there_is_no_fault(here, monkeypatch):
    project = here / "pyproject.toml"
    extras = 'big = ["no-such-package>=2"]\nsmall = ["numpy>=1"]\ndev = ["no-such-tool"]'
    project.write_text(PROJECT.format(least="3.99", needed="[]", extras=extras))
    monkeypatch.setattr(doctor, "PYPROJECT", project)
    assert [(line.state, line.text) for line in doctor.extras()] == [
        (NONE, "big: no-such-package is not installed: pip install -e '.[big]' if you want it"),
        (OK, "small"),
    ]
    (old,) = doctor.python()
    assert old.state == WRONG
    assert old.text.endswith("3.99 is needed: make PYTHON=/path/to/python3.99")


@pytest.mark.parametrize(
    ("found", "least", "enough"),
    [("2.10", "2.9", True), ("2.9", "2.10", False), ("2.15.0+cu132", "2.15.1", False), ("3", "3.0", False)],
)
def test_versions_compare_as_numbers(found, least, enough):
    assert doctor._reaches(found, least) == enough


def test_without_pyproject_the_installed_package_tells(here, monkeypatch):
    monkeypatch.setattr(doctor, "PYPROJECT", here / "none")
    needed, optional, least = doctor.requirements()
    assert any(text.startswith("torch>=") for text in needed)
    assert "slurm" in optional
    assert least == "3.11"


def test_weights_are_checked_against_the_hash_in_their_name(here, capsys):
    folder = here / "cache" / "weights"
    folder.mkdir(parents=True)
    content = b"weights"
    (folder / f"good-{hashlib.sha256(content).hexdigest()[:8]}.pth").write_bytes(content)
    (folder / "bad-01234567.pth").write_bytes(content)
    code, lines = asked(capsys)
    assert code == 1
    assert [state for state, _ in lines["weights"]] == [WRONG, OK]
    assert "delete it" in lines["weights"][0][1]


def test_folders_that_cannot_be_written_or_are_full_are_wrong(here, capsys, monkeypatch):
    (here / "file").write_text("in the way")
    code, lines = asked(capsys, "results=file/results")
    assert code == 1
    assert lines["results"][0][0] == WRONG
    assert lines["results"][0][1].endswith("choose another with results=FOLDER")
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e30)
    code, lines = asked(capsys)
    assert code == 1
    assert "make room" in lines["cache"][0][1]


def test_an_incomplete_data_set_is_wrong_and_own_images_are_reported(here, capsys):
    trees.cub(here / "data" / "CUB_200_2011")
    put_pets(here / "pets")
    (here / "pets/cat/notes.txt").write_text("")
    code, lines = asked(capsys, "data=folder", "data.root=pets")
    assert code == 1
    wrong = [text for state, text in lines["data"] if state == WRONG]
    assert wrong == [
        "cub: classes: 2 instead of 200; train: 3 instead of 5994; test: 2 instead of 5794: "
        "python scripts/prepare_data.py cub"
    ]
    assert any(text.startswith("pets: pets, 3 classes, 24 training") for _, text in lines["data"])
    assert any(text.startswith("left out, no images") for _, text in lines["data"])
    for path in (here / "pets/cat").glob("*.png"):
        path.write_bytes(b"")
    assert any("cannot be read" in text for state, text in asked(capsys, "data=folder", "data.root=pets")[1]["data"])


def test_the_terminal_shows_a_state_before_every_line_and_bad_input_is_one_line(here, capsys):
    assert RUN([]) == 0
    assert {line[:2] for line in capsys.readouterr().out.splitlines()} <= {OK, NONE}
    assert RUN(["--jason"]) == 2
    assert capsys.readouterr().err == "error: --jason is no flag of doctor: there is --json\n"


def test_a_published_data_set_is_looked_for_where_it_is_said_to_be(here, capsys):
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "notes.txt").write_text("not birds")
    _, lines = asked(capsys, "data=cub", "data.root=elsewhere")
    ((state, text),) = [line for line in lines["data"] if "cub" in line[1]]
    assert state == WRONG
    assert "elsewhere" in text
