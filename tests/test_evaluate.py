"""Scores of a kept network: numbers worked out by hand, other images, and the script as a user calls it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from kept_runs import kept, put_digits, put_pets
from PIL import Image
from trees import refused

from cotune_bench import cli
from cotune_bench.inference.kept_network import Kept
from cotune_bench.inference.labelled_images import labelled_images
from cotune_bench.metrics import EVALUATION_BINS, evaluate
from cotune_bench.reports.evaluation_files import as_lines

#: Six images of three classes; the third is never right, the first is taken for the second twice.
PROBABILITIES = [[0.9, 0.1, 0.0], [0.3, 0.5, 0.2], [0.4, 0.5, 0.1], [0.0, 1.0, 0.0], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0]]
LABELS = [0, 0, 0, 1, 1, 2]


def ask(*arguments: str) -> int:
    return cli.main(["evaluate", *arguments])


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_scores_are_what_a_hand_counts():
    told = evaluate(PROBABILITIES, LABELS, ("a", "b", "c"))
    np.testing.assert_array_equal(told.confusion, [[1, 2, 0], [0, 2, 0], [1, 0, 0]])
    assert told.accuracy == pytest.approx(50)
    assert told.class_accuracies == pytest.approx([100 / 3, 100, 0])
    assert told.mean_class_accuracy == pytest.approx(400 / 9)
    assert told.confused == [("a", "b", 2), ("c", "a", 1)]
    # Bins of 1/15: 0.5 twice (wrong), 0.7 (wrong), 0.8, 0.9 and 1.0 (right), each of these in one of its own.
    assert (told.reliability.count, told.reliability.images) == (EVALUATION_BINS, 6) == (15, 6)
    assert told.reliability.error == pytest.approx((2 * 0.5 + 0.7 + 0.2 + 0.1 + 0.0) / 6)
    without = evaluate([[1.0, 0.0]], [0], ("a", "b"))  # any image of b
    assert (without.class_accuracies, without.mean_class_accuracy) == ([100, None], 100)
    assert "| b     |      0 |       0 |            - |" in "\n".join(as_lines(without))


@pytest.mark.parametrize("data", ["digits", "folder"])
def test_the_run_s_own_test_images_give_its_record(kept_here, capsys, data):
    assert ask(data, "--json", "--out", "out") == 0
    out, error = capsys.readouterr()
    told = json.loads(out)
    card = kept(kept_here / "results", data).card
    assert told["accuracy"] == pytest.approx(card["accuracy"], rel=1e-12)
    assert told["images"] == card["images"]["test"]
    assert "warning" not in error
    assert json.loads(Path("out/evaluation.json").read_text(encoding="utf-8")) == told
    rows = rows_of("out/classes.csv")
    assert [row["class"] for row in rows] == card["classes"]
    assert sum(int(row["correct"]) for row in rows) == round(told["accuracy"] * told["images"] / 100)
    confused = rows_of("out/confused.csv")
    assert sum(int(row["images"]) for row in confused) == told["images"] - sum(int(row["correct"]) for row in rows)
    for name in ("reliability.png", "confusion.png"):
        with Image.open(Path("out") / name) as figure:
            figure.verify()


def test_a_folder_of_class_folders_is_evaluated_whatever_the_order_of_its_classes(kept_here, capsys):
    put_digits(kept_here / "more", np.arange(1000, 1060))
    assert ask("digits", "--data", "more", "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["images"] == 60
    run = kept(kept_here / "results", "digits")
    assert (whole["run"], whole["data"], whole["root"]) == (run.card["key"], "more", "more")
    assert (run.folder / "evaluation-more" / "confusion.png").is_file()  # the run's own keeps its place
    source = kept(kept_here / "results", "folder")
    turned = Kept(source.folder, {**source.card, "classes": ["eel", "cat", "dog"]})
    put_pets(kept_here / "pets", count=2)
    images = labelled_images(turned, str(kept_here / "pets"))
    names = [file.partition("/")[0] for file in images.files]
    assert [turned.classes[label] for label in images.labels] == names
    assert images.classes == turned.classes


def test_the_run_s_data_set_may_have_moved(kept_here, capsys):
    put_pets(kept_here / "moved")
    assert ask("folder", "data.root=moved", "--out", "out") == 0
    assert "accuracy " in capsys.readouterr().out
    assert ask("folder", "data.rot=moved") == 2
    assert "did you mean root?" in capsys.readouterr().err
    assert ask("digits", "data=digits", "--out", "out") == 0


def test_another_class_list_is_refused_with_the_first_differences(kept_here):
    put_pets(kept_here / "zoo", kinds=("ape", "cat", "dog", "emu"), count=2)
    zoo = str(kept_here / "zoo")
    told = refused(lambda: labelled_images(kept(kept_here / "results", "folder"), zoo), "other classes than")
    assert told.endswith("it lacks eel and also has ape, emu")
    put_digits(kept_here / "few", np.array([900, 901]))
    refused(lambda: labelled_images(kept(kept_here / "results", "digits"), str(kept_here / "few")), "and 5 more")


def test_bad_files_are_counted_and_left_out_on_demand(kept_here, capsys):
    put_digits(kept_here / "more", np.arange(1000, 1040))
    (kept_here / "more" / "3" / "broken.png").write_text("no")
    assert ask("digits", "--data", "more", "--out", "out") == 2
    assert "1 of 41 files are no readable images" in capsys.readouterr().err
    assert not Path("out").exists()
    assert ask("digits", "--data", "more", "--out", "out", "--skip-bad", "--json") == 0
    out, error = capsys.readouterr()
    assert json.loads(out)["images"] == 40
    assert "left out" in error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("digits", "--data", "nowhere"), "nowhere is missing"),
        (("digits", "--data", "empty"), "holds no class folders"),
        (("digits", "data=unknown"), "data=unknown is unknown"),
        (("digits", "--out", "/dev/null/x"), "--out /dev/null/x cannot be written (/dev/null is not a folder):"),
        (("other",), "is no run of results"),
        (("digits", "--out", "file/out"), "cannot be written"),
    ],
)
def test_bad_input_is_reported_in_one_line(kept_here, capsys, arguments, told):
    (kept_here / "empty").mkdir()
    (kept_here / "file").write_text("in the way")
    assert ask(*arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert told in line
