"""Names and files that other people chose: nothing in them is a formula, markup, a control or a traceback."""

import csv
import errno
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from kept_runs import kept, put_pets

from cotune_bench import cli
from cotune_bench.config import compose, groups
from cotune_bench.config.overrides import axes, readable
from cotune_bench.data.readers.folder import read
from cotune_bench.inference.model_card import card_text
from cotune_bench.metrics import Reliability, evaluate
from cotune_bench.reports import evaluation_files
from cotune_bench.storage import cache, calibration_file, relationship_file
from cotune_bench.storage.escape import csv_lines, latex, markdown, plain, uncell
from cotune_bench.storage.files import write_atomically

NAMES = {
    "formula": ('=HYPERLINK("http:x")', "@SUM(1)"),
    "signs": ("+1", "-2+3"),
    "terminal": ("\x1b[31mred\x07", "\x1b]0;title\x07"),
    "html": ("<script>alert(1)</script>", "<img src=x onerror=y>"),
    "markdown": ("# head", "[x](http://y.z) | `code` **b**"),
    "lines": ("a\nb", "c\r\n| d |"),
    "unicode": ("\u2066x", "\u202eabc\u2028"),
}
CARD = {
    "key": "k",
    "val_accuracy": None,
    "accuracy": 50.0,
    "rate": 1.0,
    "seed": 0,
    "split_seed": 0,
    "precision": "fp32",
    "finished": "now",
    "images": {"train": 1, "test": 1},
    "method": {"name": "bss"},
    "protocol": {"name": "desk", "updates": 1, "batch_size": 1},
    "data": {"name": "pets"},
    "input": {"channels": 1, "upright": False, "crop": 8, "resize": 8, "views": "center"}
    | {"resize_mode": "squash", "resize_filter": "bicubic", "mean": [0.0], "std": [1.0]},
    "source": {"backbone": "glyphnet", "weights": "glyphs", "sha256": "", "licence": "MIT", "classes": []},
    "versions": {},
    "network": None,
}


def cells(text: str) -> list[str]:
    return [value for row in csv.reader(text.splitlines()) for value in row]


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_hostile_names_are_text_in_every_output(names, tmp_path):
    rows = np.array([[0.7, 0.3], [0.4, 0.6]])
    found = evaluate(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), names)
    evaluation_files.write(found, {}, tmp_path)
    texts = [(tmp_path / name).read_text(encoding="utf-8") for name in ("classes.csv", "confused.csv")]
    texts += [relationship_file.to_csv(rows, names, names)]
    texts += [calibration_file.to_csv({names[0]: Reliability(1.0, ((0, 1, 0.5, 1.0),))})]
    for text in texts:
        assert not any(value.startswith(("=", "+", "-", "@")) for value in cells(text))
        assert plain(text.replace("\n", "")) == text.replace("\n", "")
    read = relationship_file.from_csv(texts[2])
    assert list(read) == list(map(plain, names))

    terminal = "\n".join(evaluation_files.as_lines(found))
    assert plain(terminal.replace("\n", "")) == terminal.replace("\n", "")
    assert len(terminal.splitlines()) == 10

    card = card_text({**CARD, "classes": list(names)}, "w")
    assert card.encode()
    lines = card.splitlines()
    listed = lines[lines.index("## Classes, in the order of the outputs") + 2 :]
    assert len(listed) == 2
    for line in listed:
        body = line.partition(". ")[2]
        assert not body.startswith("#")
        assert not re.search(r"(?<!\\)([<|`*]|\]\()|http:", body)
        assert plain(line) == line


def test_each_language_has_its_own_escapes():
    assert markdown("a|b <i> [x](http://y) `c`") == r"a\|b \<i> [x\](http\://y) \`c\`"
    assert [markdown(text) for text in ("# x", "- x", "1. x", "1) x")] == [r"\# x", r"\- x", r"1\. x", r"1\) x"]
    assert latex("50 % of a_b & \\c") == r"50 \% of a\_b \& \textbackslash{}c"
    assert csv_lines([["=1", -1, "'quoted", None]]) == "'=1,-1,''quoted,\n"
    assert [uncell(text) for text in ("'=1", "''quoted", "it's")] == ["=1", "'quoted", "it's"]
    assert plain("a\x1b\n\ud800é") == "a\\x1b\\n\\ud800é"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["-m", "rate=interval(0,1)"], "rate=interval(0,1) cannot be run: name the values"),
        (["-m", "method=glob(b*)"], "method=glob(b*) cannot be run: name the values"),
        (["root=x"], "did you mean data.root?"),
        (["protocol.updates=2", "cache=/dev/null"], "cannot be used ([Errno 20] Not a directory"),
        (["data=folder", f"data.root={'x' * 300}"], "x cannot be used (File name too long): choose a shorter name"),
        (["data=folder", "data.root=loop"], "data.root cannot be read (Symlink loop"),
        (["data=folder", "data.root=/dev/zero"], "/dev/zero is not a folder: set data.root"),
        (["data=folder", "data.root=2024"], "2024 is missing ({here} holds loop): set data.root"),
        (["data=cars", f"data_root={'x' * 300}"], "cannot be used (File name too long): choose a shorter name"),
        (["data=folder", "data.root=.", f"data.name={'x' * 151}"], "use at most 150 letters"),
        ([f"results={'x' * 300}"], "cannot be written (File name too long): choose another folder"),
        ([f"{'x' * 300}.y=1"], "is not a setting"),
        (["-m", "hydra.job.chdir=true"], "and of Hydra's own only"),
        (["-m", "seed=range(99999)", "rate=2"], "rate=2 cannot be used"),
        (["-m", "rate=range(1,99999)"], "rate=99998 cannot be used"),
        (["-m", "seed=range(99999)", "rate=0.1,0.2"], "the sweep has 199,998 cells, more than 100,000"),
        (["-m", "seed=range(3000000000)"], "names more than 100,000 values"),
        (["tables", "results=/dev/null"], "results=/dev/null cannot be written (/dev/null is not a folder)"),
    ],
)
def test_one_line_names_what_is_wrong(tmp_path, monkeypatch, capsys, given, text):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert cli.main(given) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert text.replace("{here}", str(tmp_path)) in line
    assert not Path("x").exists()


@pytest.mark.parametrize("name", ["a\nb.png", "a\udcff.png", "a\x1b[31m.png"])
def test_file_names_that_no_list_can_hold_are_refused(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    put_pets(Path("pets"))
    one = next(Path("pets").rglob("*.png"))
    one.rename(one.with_name(name))
    assert cli.main(["data=folder", "data.root=pets", "method=finetune"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "has characters that are no text: rename it" in line
    assert plain(line) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2", 'mine.yaml", line 1, column 4'),
        ("name: mine\n\tk: 1", 'mine.yaml", line 2, column 1'),
        ("- a\n- b", "conf/method/mine.yaml lacks name and _target_: correct it"),
        ("text", "conf/method/mine.yaml lacks name and _target_: correct it"),
        ("name: mine", "conf/method/mine.yaml lacks _target_: correct it"),
    ],
)
def test_a_malformed_yaml_is_one_line_that_names_the_file(tmp_path, monkeypatch, capsys, text, line):
    shutil.copytree(groups.CONF, tmp_path / "conf")
    (tmp_path / "conf" / "method" / "mine.yaml").write_text(text)
    (tmp_path / "conf" / "table" / "mine.yaml").write_text(text)
    monkeypatch.setattr(groups, "CONF", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    compose._compose.cache_clear()
    assert cli.main(["method=mine", "protocol.updates=2"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
    assert cli.main(["run", "table=mine"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "mine" in error


def test_images_that_are_no_files_are_refused_or_left_out_without_being_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put_pets(Path("pets"))
    folder = next(Path("pets").rglob("*.png")).parent
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "fifo.png")
    assert cli.main(["data=folder", "data.root=pets", "method=finetune"]) == 2
    assert "3 of 33 images are missing or not files below pets" in capsys.readouterr().err.splitlines()[-1]
    assert len(read("pets", "pets", skip_bad=True, cache="cache").unreadable) == 3


def test_a_class_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch, capsys):
    def denied(path):
        if path.name == "cat":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    iterdir = Path.iterdir
    monkeypatch.chdir(tmp_path)
    put_pets(Path("pets"))
    monkeypatch.setattr(Path, "iterdir", denied)
    assert cli.main(["data=folder", "data.root=pets"]) == 2
    assert "pets/cat cannot be used (Permission denied): allow access to it" in capsys.readouterr().err


@pytest.mark.parametrize("given", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_full_disk_is_one_line_that_names_the_folder(tmp_path, monkeypatch, capsys, given):
    """Every file that is flushed to the disk finds it full."""

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    assert cli.main(["method=finetune", "protocol.updates=2", *given]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    place = "results/.sweeps/" if given else "results/splits/"
    assert re.match(rf"(error|failed): .*{place}.* cannot be used \(No space left on device\): make room there", line)


@pytest.mark.parametrize("given", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_cache_that_cannot_be_written_is_one_line_that_names_the_folder(tmp_path, monkeypatch, capsys, given):
    def readonly(_path, _content):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "write_atomically", readonly)
    assert cli.main(["method=cotuning", "protocol.updates=2", "cache=here", *given]) == (1 if given else 2)
    line = capsys.readouterr().err.splitlines()[-1]
    assert "here/" in line
    assert "cannot be used ([Errno 30] Read-only file system): make room, or choose another cache=FOLDER" in line


def test_a_range_of_rates_has_round_numbers_and_paths_may_be_numbers():
    assert axes(["rate=range(0.2,0.5,0.1)"]) == [["rate=0.2", "rate=0.3", "rate=0.4"]]
    assert axes(["seed=range(1,4)"]) == [["seed=1", "seed=2", "seed=3"]]
    assert [readable(text) for text in ("results=2025", "data.root=null", "results=a,b")] == [
        "results='2025'",
        "data.root='null'",
        "results=a,b",
    ]


def test_the_version_and_the_settings_of_a_sweep_are_shown(capsys):
    assert cli.main(["run", "--version"]) == 0
    assert capsys.readouterr().out.startswith("cotune_bench ")
    assert cli.main(["-m", "seed=3,4", "--cfg", "job"]) == 0
    assert "\nseed: 3\n" in capsys.readouterr().out


def test_temporary_files_of_killed_writers_are_removed_after_a_day(tmp_path):
    old, new, other = (tmp_path / name for name in (f".x.json.{'a' * 16}", f".y.json.{'b' * 16}", ".hidden"))
    for path in (old, new, other):
        path.write_text("")
    for path in (old, other):
        os.utime(path, (time.time() - 90_000,) * 2)
    write_atomically(tmp_path / "z", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([new.name, other.name, "z"])


@pytest.mark.parametrize(
    "change",
    [
        {"classes": []},
        {"classes": [1, 2]},
        {"input": {"resize": 10**9, "crop": 10**9}},
        {"method": None},
        {"backbone": {"name": "nope"}},
        {"backbone": {"name": "timm", "model": "os.system", "weights": "random"}},
        {"method": {"name": "bss", "k": [1]}},
        {"source": {}},
    ],
)
def test_a_model_card_that_somebody_changed_is_refused_in_one_line(kept_results, tmp_path, capsys, change):
    folder = tmp_path / "runs" / "k"
    shutil.copytree(kept(kept_results, "digits").folder, folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, **change}))
    picture = next(kept_results.parent.rglob("pets/*/*.png"))
    assert cli.main(["predict", str(folder), str(picture), "device=cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.json" in line
