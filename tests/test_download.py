"""Downloads from a server of our own, whole, cut, refused; archives, harmless and malicious."""

import hashlib
import io
import re
import stat
import tarfile
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from trees import refused

from cotune_bench.data.prepare import archives, download
from cotune_bench.data.prepare.archives import unpack
from cotune_bench.data.prepare.download import fetch, verify, writing

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server:
    """Serves ``files``; cuts the first ``cuts`` answers after 1,000 bytes; remembers the ranges asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"a.bin": CONTENT}
        self.cuts, self.ranged, self.kind = 0, True, "application/octet-stream"
        self.asked: list[str | None] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self))
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def __init__(self, server: Server, *arguments) -> None:
        self.ours = server
        super().__init__(*arguments)

    def log_message(self, *_arguments) -> None:
        pass

    def do_GET(self) -> None:
        server, content = self.ours, self.ours.files.get(self.path[1:])
        server.asked.append(self.headers.get("Range"))
        if content is None:
            self.send_error(404)
            return
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if server.ranged else None
        start = int(found[1]) if found else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if found else 200)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(content) - start))
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = server.cuts > 0
        server.cuts -= cut
        self.wfile.write(content[start : start + 1000] if cut else content[start:])


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# Downloads ---------------------------------------------------------------------------------------------------------


def test_a_file_comes_whole_and_leaves_nothing_else(server, tmp_path):
    fetch(f"{server.base}/a.bin", tmp_path / "new" / "a.bin")
    assert (tmp_path / "new" / "a.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["new", "new/a.bin"]
    assert server.asked == [None]


def test_a_cut_connection_goes_on_where_it_was_cut(server, tmp_path):
    server.cuts = 2
    fetch(f"{server.base}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=2000-"]


def test_a_connection_cut_for_good_keeps_its_part_for_the_next_command(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "CUTS", 1)
    server.cuts = 1
    refused(lambda: fetch(f"{server.base}/a.bin", tmp_path / "a.bin"), "was cut", "a.bin.part is kept", server.base)
    assert names(tmp_path) == ["a.bin.part"]
    fetch(f"{server.base}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000-"


def test_a_server_without_ranges_gives_the_whole_file_again(server, tmp_path):
    server.ranged = False
    (tmp_path / "a.bin.part").write_bytes(b"old" * 100)
    fetch(f"{server.base}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_that_is_whole_is_used_and_a_longer_one_is_not(server, tmp_path, extra):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + extra)
    fetch(f"{server.base}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(server.asked) == (2 if extra else 1)


def test_an_address_that_does_not_answer(server, tmp_path):
    refused(lambda: fetch(f"{server.base}/gone", tmp_path / "g"), f"{server.base}/gone", "404", str(tmp_path / "g"))
    server.http.shutdown()
    server.http.server_close()
    refused(lambda: fetch(f"{server.base}/a.bin", tmp_path / "a.bin"), "refused", f"put it at {tmp_path / 'a.bin'}")
    assert names(tmp_path) == []


def test_a_web_page_is_no_archive(server, tmp_path):
    server.kind = "text/html; charset=utf-8"
    refused(lambda: fetch(f"{server.base}/a.bin", tmp_path / "a.bin"), "web page")
    assert names(tmp_path) == []


def test_too_little_room_and_a_folder_that_cannot_be_written(server, tmp_path, monkeypatch):
    usage = download.shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _path: usage)
    refused(lambda: fetch(f"{server.base}/a.bin", tmp_path / "a.bin"), "0.0 GB free", "make room")
    (tmp_path / "file").write_text("")
    refused(lambda: fetch(f"{server.base}/a.bin", tmp_path / "file" / "a.bin"), "cannot be written")


def full_disk() -> None:
    with writing(Path("big")):
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_in_one_line():
    refused(full_disk, "big cannot be written (No space left on device): make room")


def test_a_wrong_checksum_puts_the_file_aside(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    verify(path, MD5)
    verify(path, "")
    refused(lambda: verify(path, "0" * 32), MD5, "0" * 32, f"kept as {path}.bad")
    assert names(tmp_path) == ["a.bin.bad"]


# Archives ----------------------------------------------------------------------------------------------------------


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
def test_the_folder_that_is_asked_for_becomes_the_target(tmp_path, make):
    archive = make(tmp_path / "birds.archive", GOOD)
    unpack([archive], tmp_path / "data" / "cub", "birds")
    unpack([archive], tmp_path / "data" / "images", "images")
    unpack([archive], tmp_path / "data" / "all")
    assert names(tmp_path / "data" / "cub") == ["b.txt", "images", "images/a.jpg"]
    assert names(tmp_path / "data" / "images") == ["a.jpg"]
    assert names(tmp_path / "data" / "all") == [
        "birds",
        "birds/b.txt",
        "birds/images",
        "birds/images/a.jpg",
        "notes.txt",
    ]
    refused(lambda: unpack([archive], tmp_path / "data" / "x", "fish"), "holds no folder fish")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["all", "cub", "images"]


def test_an_archive_in_parts_is_read_as_one(tmp_path):
    content = tar(tmp_path / "whole.tgz", GOOD).read_bytes()
    files = [tmp_path / f"split_a{letter}" for letter in "abc"]
    for number, file in enumerate(files):
        file.write_bytes(content[number * 50 : None if number == 2 else (number + 1) * 50])
    unpack(files, tmp_path / "out", "birds")
    assert (tmp_path / "out" / "b.txt").read_bytes() == b"b"


def test_parts_that_do_not_make_an_archive_are_all_named_and_none_is_blamed(tmp_path):
    content = tar(tmp_path / "whole.tgz", GOOD).read_bytes()
    first, second = tmp_path / "split_aa", tmp_path / "split_ab"
    first.write_bytes(content[:80])
    told = "split_a* cannot be joined", "a part is missing, cut or damaged; there is split_aa with 80 bytes"
    text = refused(lambda: unpack([first], tmp_path / "out", parts="split_a*"), *told)
    assert "delete" not in text
    second.write_bytes(content[80:-40])
    refused(lambda: unpack([first, second], tmp_path / "out", parts="split_a*"), *told, ", split_ab with ")
    assert names(tmp_path) == ["split_aa", "split_ab", "whole.tgz"]


OUTSIDE = "leaves its folder"


@pytest.mark.parametrize(
    ("make", "evil", "reason"),
    [
        (tar, {"../evil": b"x"}, OUTSIDE),
        (tar, {"birds/../../evil": b"x"}, OUTSIDE),
        (tar, {"{top}/evil": b"x"}, OUTSIDE),
        (tar, {"birds/link": "{top}/evil"}, "link"),
        (tar, {"birds/link": "../../evil", "birds/link/f": b"x"}, "link"),
        (partial(tar, kind=tarfile.LNKTYPE), {"birds/link": "../secret"}, "link"),
        (partial(tar, kind=tarfile.FIFOTYPE), {"birds/pipe": ""}, "special file"),
        (zipped, {"../evil": b"x"}, OUTSIDE),
        (zipped, {"..\\evil": b"x"}, OUTSIDE),
        (zipped, {"{top}/evil": b"x"}, OUTSIDE),
        (zipped, {"C:\\evil": b"x"}, OUTSIDE),
    ],
)
def test_a_malicious_archive_is_refused_and_nothing_is_written(tmp_path, make, evil, reason):
    (tmp_path / "secret").write_text("s")
    place = {"top": tmp_path.as_posix()}
    evil = {
        name.format(**place): content.format(**place) if isinstance(content, str) else content
        for name, content in evil.items()
    }
    archive = make(tmp_path / "evil.archive", {**GOOD, **evil})
    (tmp_path / "data").mkdir()
    refused(lambda: unpack([archive], tmp_path / "data" / "cub"), str(archive), reason)
    assert names(tmp_path) == ["data", "evil.archive", "secret"]


def test_a_zip_with_a_link_is_refused(tmp_path):
    archive = tmp_path / "link.zip"
    info = zipfile.ZipInfo("birds/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr(info, "/etc")
    refused(lambda: unpack([archive], tmp_path / "cub"), "holds a link (birds/link)")
    assert names(tmp_path) == ["link.zip"]


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_damaged_archive_leaves_nothing(tmp_path, make):
    archive = make(tmp_path / "birds.archive", {"birds/a": b"abc" * 1000, "birds/b": b"b"})
    content = archive.read_bytes()
    for damaged in (content[: len(content) // 2], b"<html>", b""):
        archive.write_bytes(damaged)
        refused(lambda: unpack([archive], tmp_path / "cub"), f"{archive} is damaged")
        assert names(tmp_path) == ["birds.archive"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_half_of_an_archive_is_never_seen(tmp_path, monkeypatch, error):
    archive = tar(tmp_path / "birds.tgz", GOOD)
    extract, seen = tarfile.TarFile.extract, []

    def stops(self, member, *arguments, **options):
        if len(seen) == 2:
            raise error
        extract(self, member, *arguments, **options)
        seen.append(member.name)
        assert not (tmp_path / "cub").exists()

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", stops)
        if isinstance(error, OSError):
            refused(lambda: unpack([archive], tmp_path / "cub", "birds"), "No space left", "make room")
        else:
            with pytest.raises(KeyboardInterrupt):
                unpack([archive], tmp_path / "cub", "birds")
    assert len(seen) == 2
    assert names(tmp_path) == ["birds.tgz"]
    stale = tmp_path / ".cub.unpacking" / "old"  # as a killed command leaves it
    stale.mkdir(parents=True)
    unpack([archive], tmp_path / "cub", "birds")
    assert names(tmp_path / "cub") == ["b.txt", "images", "images/a.jpg"]
    assert not stale.parent.exists()


def test_a_python_without_safe_unpacking_is_refused(tmp_path, monkeypatch):
    archive = tar(tmp_path / "birds.tgz", GOOD)
    monkeypatch.delattr(archives.tarfile, "data_filter")
    refused(lambda: unpack([archive], tmp_path / "cub"), "3.11.4")
