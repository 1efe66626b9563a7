"""Files whole or not at all, and as readable as any other."""

import errno
import os
import stat
from pathlib import Path

import pytest

from cotune_bench.storage.files import create_atomically, write_atomically


def test_a_file_has_the_mode_of_an_ordinary_one(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "folder" / "file", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == 0o640


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, memoryview(b"new"))
    assert path.read_bytes() == b"new"

    def fail(*_arguments) -> None:
        raise OSError(errno.ENOSPC, "no space")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, step, fail)
            with pytest.raises(OSError, match="no space"):
                write_atomically(path, b"newer")
            if step == "fsync":
                with pytest.raises(OSError, match="no space"):
                    create_atomically(tmp_path / "other", b"newer")
        assert path.read_bytes() == b"new"
        assert [found.name for found in Path(tmp_path).iterdir()] == ["file"]
