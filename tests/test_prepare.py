"""Data sets from a local server and from archives that are there, and their check."""

import gc
import hashlib
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trees
from filelock import FileLock
from trees import refused

from cotune_bench import cli
from cotune_bench.config import build, choices, compose_config
from cotune_bench.data.dataset import Reader
from cotune_bench.data.prepare.download import fetch, verify
from cotune_bench.data.prepare.run import SOURCES
from cotune_bench.data.readers import cub, flowers

ROOT = Path(__file__).parents[1]
CONTENT = bytes(range(256)) * 40
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pooch closes no answer


def hashed(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def run(*arguments: str) -> int:
    return cli.main(["prepare-data", *arguments])


# Downloads ---------------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[tuple[Path, str]]:
    """A folder that is served, and its address."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda _seconds: None)
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.bin").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
    gc.collect()


@LEAKS
def test_a_file_is_fetched_as_a_whole_and_everybody_may_read_it(server, tmp_path):
    fetch(f"{server[1]}/a.bin", tmp_path / "new" / "a.bin", hashed(CONTENT))
    assert (tmp_path / "new" / "a.bin").read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["a.bin"]
    assert (tmp_path / "new" / "a.bin").stat().st_mode & 0o777 == 0o644


@LEAKS
@pytest.mark.parametrize(
    ("file", "md5", "words"),
    [("gone.bin", "", "404"), ("a.bin", "0" * 32, f"expected md5:{'0' * 32} but got {hashed(CONTENT)}")],
)
def test_a_failed_download_is_one_line_with_the_way_round(server, tmp_path, file, md5, words):
    url, path = f"{server[1]}/{file}", tmp_path / "new" / file
    refused(lambda: fetch(url, path, md5), url, words, f"manually and put it at {path}")
    assert names(tmp_path / "new") == []


def test_a_file_with_another_md5_is_refused_and_kept(tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    verify(tmp_path / "a.bin", hashed(CONTENT))
    verify(tmp_path / "a.bin", "")
    refused(lambda: verify(tmp_path / "a.bin", "0" * 32), hashed(CONTENT), "0" * 32, "delete it")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


# Preparing ---------------------------------------------------------------------------------------------------------


def packed(folder: Path, path: Path, name: str) -> Path:
    """A tar of a folder under this name."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, name)
    return path


def patch_sources(monkeypatch, name: str, **changes: list[str]) -> None:
    """Replace fields of a data set's sources: one value for each of them."""
    changed = SOURCES[name]
    for field, values in changes.items():
        changed = tuple(replace(source, **{field: value}) for source, value in zip(changed, values, strict=True))
    monkeypatch.setitem(SOURCES, name, changed)


@pytest.fixture
def birds(tmp_path, monkeypatch) -> Path:
    """CUB's archive in data/, of 3 + 2 images, which are the official numbers here."""
    archive = packed(trees.cub(tmp_path / "made"), tmp_path / "data" / "CUB_200_2011.tgz", "CUB_200_2011")
    patch_sources(monkeypatch, "cub", md5=[hashed(archive.read_bytes())])
    monkeypatch.setattr(cub, "READER", Reader(cub.read, official={"classes": 2, "train": 3, "test": 2}))
    return tmp_path / "data"


@pytest.mark.parametrize("folder", [".", "CUB_200_2011"])
def test_an_archive_that_is_there_is_used_and_checked(birds, capsys, folder):
    (birds / folder).mkdir(exist_ok=True)
    (birds / "CUB_200_2011.tgz").rename(birds / folder / "CUB_200_2011.tgz")
    assert run("cub", f"data_root={birds}") == 0
    out, err = capsys.readouterr()
    assert "cub: 2 classes, 3 train, 2 test" in out
    assert "complete" in out
    assert not err
    assert run("cub", f"data_root={birds}") == 0
    assert "already there" in capsys.readouterr().out


def test_check_downloads_and_writes_nothing_and_names_missing_and_unreadable_images(birds, capsys):
    before, check = names(birds), ("cub", "--check", f"data_root={birds}")
    assert run(*check) == 1
    assert "images.txt is missing" in capsys.readouterr().err
    assert names(birds) == before
    assert run("cub", f"data_root={birds}") == 0
    assert run(*check) == 0
    images = birds / "CUB_200_2011/images"
    (images / "001.Albatross/a2.jpg").unlink()
    (images / "002.Wren/w1.jpg").write_bytes(b"no image")
    capsys.readouterr()
    assert run(*check) == 1
    out, err = capsys.readouterr()
    assert "complete" not in out
    assert "1 image is missing, first images/001.Albatross/a2.jpg" in err
    assert "1 image cannot be decoded, first images/002.Wren/w1.jpg" in err


@LEAKS
def test_only_what_is_missing_is_downloaded(server, tmp_path, monkeypatch):
    made, store, (served, url) = trees.flowers(tmp_path / "made"), tmp_path / "data", server
    packed(made / "jpg", served / "102flowers.tgz", "jpg")
    for name in ("imagelabels.mat", "setid.mat"):
        (made / name).rename(served / name)
    files = [served / source.file for source in SOURCES["flowers"]]
    sums = [hashed(file.read_bytes()) for file in files]
    patch_sources(monkeypatch, "flowers", url=[f"{url}/{file.name}" for file in files], md5=sums)
    monkeypatch.setattr(flowers, "READER", Reader(flowers.read, official={"classes": 2, "train": 4, "test": 2}))
    assert run("flowers", f"data_root={store}") == 0
    data = build(compose_config(["data=flowers", f"data_root={store}"]).data)
    assert (len(data.train), len(data.test)) == (4, 2)
    (store / "flowers-102/setid.mat").unlink()
    (served / "imagelabels.mat").unlink()  # is not asked for again
    assert run("flowers", f"data_root={store}") == 0


def test_files_to_download_manually_are_listed_once_then_used(tmp_path, monkeypatch, capsys):
    made, store = trees.cars(tmp_path / "made"), tmp_path / "data"
    assert run("cars", f"data_root={store}") == 1
    out, err = capsys.readouterr()
    for source in SOURCES["cars"]:
        assert out.count(f"{source.file} from {source.where}: put it in {store}") == 1
    assert "docs/data/cars.md" in out
    assert err == ""
    archives = [
        packed(made / folder, store / source.file, folder)
        for source, folder in zip(SOURCES["cars"][:3], ("cars_train", "cars_test", "devkit"), strict=True)
    ]
    patch_sources(monkeypatch, "cars", md5=[*(hashed(path.read_bytes()) for path in archives), ""])
    assert run("cars", f"data_root={store}") == 1  # the labels of the test images are missing
    out, _ = capsys.readouterr()
    assert "cars_test_annos_withlabels.mat from" in out
    assert "cars_train.tgz from" not in out
    (made / "cars_test_annos_withlabels.mat").rename(store / "cars_test_annos_withlabels.mat")
    assert run("cars", f"data_root={store}") == 1
    assert capsys.readouterr().err.splitlines() == [
        "problem: classes: 3 instead of 196",
        "problem: train: 4 instead of 8144",
        "problem: test: 3 instead of 8041",
    ]


def test_coco70_from_its_parts(tmp_path, capsys):
    whole = packed(trees.coco70(tmp_path / "made"), tmp_path / "data" / "whole.tar", "COCO70").read_bytes()
    for number, letter in enumerate("abc"):
        part = whole[number * 300 : None if number == 2 else number * 300 + 300]
        (tmp_path / "data" / f"COCO70_splita{letter}").write_bytes(part)
    assert run("coco70", f"data_root={tmp_path / 'data'}") == 1  # too few, but all there
    assert "coco70: 2 classes, 4 train, 2 test, 2 val" in capsys.readouterr().out


def test_two_commands_do_not_write_the_same_files(birds, capsys):
    with FileLock(birds / ".cub.lock"):
        assert run("cub", f"data_root={birds}") == 2
    assert "another cotune-bench prepare-data cub is running" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 2)])
def test_an_interrupted_command_leaves_no_half_of_a_data_set(birds, monkeypatch, capsys, error, code):
    makefile = tarfile.TarFile.makefile

    def stops(self, member, path):
        if member.name.endswith("w2.jpg"):
            raise error
        makefile(self, member, path)

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "makefile", stops)
        assert run("cub", f"data_root={birds}") == code
    err = capsys.readouterr().err
    assert ("the same command continues" if code == 130 else "No space left on device): make room") in err
    assert len(err.splitlines()) == 1
    assert names(birds) == [".cub.lock", "CUB_200_2011.tgz"]
    assert run("cub", f"data_root={birds}") == 0


def test_every_published_data_set_has_sources_which_its_page_names():
    embedded = {"digits", "greek", "cyrillic", "symbols", "mnist"}  # nothing to prepare
    assert set(SOURCES) == set(choices("data")) - embedded - {"folder", "imagelist", "coco70-rebuilt"}
    for name, sources in SOURCES.items():
        page = (ROOT / "docs/data" / f"{name}.md").read_text(encoding="utf-8")
        for source in sources:
            assert bool(source.url) != bool(source.where)
            assert len(source.md5) in (0, 32)
            assert source.file in page
            assert source.md5 in page


def test_data_that_need_no_download(tmp_path, capsys):
    trees.folders(tmp_path / "mine", {"cat": 3, "dog": 3})
    assert run("folder", f"data.root={tmp_path / 'mine'}") == 0
    assert run("digits", f"data_root={tmp_path}") == 0
    assert "there is nothing to download" in capsys.readouterr().out
    assert run("coco70-rebuilt", f"data_root={tmp_path}") == 1
    assert "rebuilt.json is missing" in (err := capsys.readouterr().err)
    assert "make it with python scripts/rebuild_coco70.py" in err
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cubs"], "data=cubs is unknown: did you mean cub?"),
        ([], "name"),
        (["cub", "--chek"], "--chek"),
        (["cub", "rat=1"], "rate"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
