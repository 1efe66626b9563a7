"""The doctor: what is present, what is not needed, and what is wrong with its remedy."""

import hashlib
import json
import sys

import pytest
import trees
from kept_runs import put_pets

from cotune_bench.cli import doctor
from cotune_bench.cli.doctor import NONE, OK, WRONG


@pytest.fixture
def lines(here, ask):
    """Ask for JSON: (state, text) of every line by its topic."""

    def asked(*overrides: str) -> dict[str, list[tuple[str, str]]]:
        done = ask("doctor", "--json", *overrides)
        found = json.loads(done.out)
        assert found["ok"] == (done.code == 0) == all(line["state"] != WRONG for line in found["lines"])
        topics: dict[str, list[tuple[str, str]]] = {}
        for line in found["lines"]:
            topics.setdefault(line["topic"], []).append((line["state"], line["text"]))
        return topics

    return asked


def test_a_fresh_checkout_is_fine_and_nothing_is_written(here, lines):
    found = lines()
    assert found["python"][0][1].startswith(".".join(map(str, sys.version_info[:3])))
    assert found["device"][-1][1].startswith("cpu: ")
    assert "precision=auto is " in found["device"][-1][1]
    assert (OK, "digits: 10 classes, 898 train, 899 test") in found["data"]
    (cub,) = (line for line in found["data"] if line[1].startswith("cub: "))
    assert cub[0] == NONE
    assert cub[1].endswith("run cotune-bench prepare-data cub, or set data.root")
    assert list(here.iterdir()) == []


def test_old_and_missing_packages_are_reported_first_and_alone(lines, monkeypatch, ask):
    needed = ["numpy>=999.1", "no-such-package>=2", "pillow>=1.0", 'no-such-tool; extra == "dev"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: needed)
    found = lines()
    assert list(found) == ["python", "package"]
    (first, second) = (text for _, text in found["package"])
    assert first.startswith("numpy ")
    assert first.endswith("is not >=999.1: pip install 'numpy>=999.1'")
    assert second == "no-such-package is not installed: pip install 'no-such-package>=2'"
    assert [line[:2] for line in ask("doctor").out.splitlines()] == [OK, WRONG, WRONG]


def test_an_absent_extra_is_not_wrong(monkeypatch):
    needed = ["numpy>=1", 'no-such-package>=2; extra == "timm"', 'numpy>=1; extra == "onnx"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: needed)
    extras = {line.text.partition(":")[0]: line for line in doctor.packages() if line.topic == "extra"}
    assert extras["onnx"].state == OK
    assert extras["timm"].state == NONE
    assert extras["timm"].text.endswith("no-such-package is not installed: pip install -e '.[timm]' if you want it")
    assert "dev" not in extras


def test_weights_are_checked_against_the_hash_in_their_name(here, lines):
    folder = here / "cache" / "weights"
    folder.mkdir(parents=True)
    (folder / f"good-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth").write_bytes(b"weights")
    (folder / "bad-01234567.pth").write_bytes(b"weights")
    found = lines()["weights"]
    assert [state for state, _ in found] == [WRONG, OK]
    assert "delete it" in found[0][1]


def test_folders_that_cannot_be_written_or_are_full_are_wrong(here, lines, monkeypatch):
    (here / "file").write_text("in the way")
    ((state, text),) = lines("results=file/results")["results"]
    assert (state, text.endswith("choose another folder")) == (WRONG, True)
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e30)
    assert "make room" in lines()["cache"][0][1]


def test_an_incomplete_data_set_is_wrong_and_own_images_are_reported(here, lines):
    trees.cub(here / "data" / "CUB_200_2011")
    put_pets(here / "pets")
    (here / "pets/cat/notes.txt").write_text("")
    found = lines("data=folder", "data.root=pets")["data"]
    counts = "classes: 2 instead of 200; train: 3 instead of 5994; test: 2 instead of 5794"
    assert [text for state, text in found if state == WRONG] == [f"cub: {counts}: cotune-bench prepare-data cub"]
    assert any(text.startswith("pets: pets, 3 classes, 24 training") for _, text in found)
    assert any(text.startswith("left out, no images") for _, text in found)
    for path in (here / "pets/cat").glob("*.png"):
        path.write_bytes(b"")
    assert any("cannot be read" in text for _, text in lines("data=folder", "data.root=pets")["data"])


def test_a_published_data_set_is_looked_for_in_its_given_folder(here, lines):
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "notes.txt").write_text("not birds")
    ((state, text),) = [line for line in lines("data=cub", "data.root=elsewhere")["data"] if "cub" in line[1]]
    assert state == WRONG
    assert "elsewhere" in text
