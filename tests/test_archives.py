"""Archives, harmless and malicious."""

import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import pytest
from trees import refused

from cotune_bench.data.prepare.archives import unpack


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def tar(path: Path, members: dict[str, bytes | str], kind: bytes = tarfile.SYMTYPE) -> Path:
    """Files by their content as bytes; links by their target as text."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = kind, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


GOOD = {"birds/images/a.jpg": b"a", "birds/b.txt": b"b", "notes.txt": b"n"}


@pytest.mark.parametrize("make", [tar, zipped])
def test_the_requested_folder_of_an_archive_becomes_the_target(tmp_path, make):
    archive = make(tmp_path / "birds.archive", GOOD)
    (tmp_path / "data/.cub.unpacking/old").mkdir(parents=True)  # as a killed command leaves it
    for folder, holds in (("cub", "birds"), ("images", "images"), ("all", "")):
        unpack([archive], tmp_path / "data" / folder, holds)
    assert names(tmp_path / "data" / "cub") == ["b.txt", "images", "images/a.jpg"]
    assert names(tmp_path / "data" / "images") == ["a.jpg"]
    assert names(tmp_path / "data" / "all") == ["birds", *(f"birds/{name}" for name in names(tmp_path / "data/cub")),
                                                "notes.txt"]  # fmt: skip
    refused(lambda: unpack([archive], tmp_path / "data" / "x", "fish"), "holds no folder fish")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["all", "cub", "images"]


def test_an_archive_in_parts_is_read_as_one(tmp_path):
    content = tar(tmp_path / "whole.tgz", GOOD).read_bytes()
    files = [tmp_path / f"split_a{letter}" for letter in "abc"]
    for number, file in enumerate(files):
        file.write_bytes(content[number * 50 : None if number == 2 else (number + 1) * 50])
    refused(
        lambda: unpack(files[:2], tmp_path / "out"), "split_aa (50 bytes), split_ab (50 bytes) in", "is incomplete"
    )
    unpack(files, tmp_path / "out", "birds")
    assert (tmp_path / "out" / "b.txt").read_bytes() == b"b"


@pytest.mark.parametrize(
    ("make", "evil"),
    [
        (tar, {"../evil": b"x"}),
        (tar, {"birds/../../evil": b"x"}),
        (tar, {"{top}/evil": b"x"}),
        (tar, {"birds/link": "{top}/evil"}),
        (tar, {"birds/link": "../../evil", "birds/link/f": b"x"}),
        (partial(tar, kind=tarfile.LNKTYPE), {"birds/link": "../secret"}),
        (partial(tar, kind=tarfile.FIFOTYPE), {"birds/pipe": ""}),
        (zipped, {"../evil": b"x"}),
        (zipped, {"..\\evil": b"x"}),
        (zipped, {"{top}/evil": b"x"}),
        (zipped, {"C:\\evil": b"x"}),
    ],
)
def test_a_malicious_archive_is_refused_and_nothing_is_written(tmp_path, make, evil):
    (tmp_path / "secret").write_text("s")
    place = {"top": tmp_path.as_posix()}
    evil = {
        name.format(**place): content.format(**place) if isinstance(content, str) else content
        for name, content in evil.items()
    }
    archive = make(tmp_path / "evil.archive", {**GOOD, **evil})
    (tmp_path / "data").mkdir()
    refused(lambda: unpack([archive], tmp_path / "data" / "cub"), str(archive), next(iter(evil)), "leaves its folder")
    assert names(tmp_path) == ["data", "evil.archive", "secret"]


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_damaged_archive_leaves_nothing(tmp_path, make):
    archive = make(tmp_path / "birds.archive", {"birds/a": b"abc" * 1000, "birds/b": b"b"})
    content = archive.read_bytes()
    for damaged in (content[: len(content) // 2], b"<html>", b""):
        archive.write_bytes(damaged)
        refused(lambda: unpack([archive], tmp_path / "cub"), "birds.archive", "damaged or not an archive")
        assert names(tmp_path) == ["birds.archive"]
