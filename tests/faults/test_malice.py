"""Files from others that would do harm, opened in processes of their own."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest

from cotune_bench.data.prepare.archives import unpack
from cotune_bench.errors import UserError
from faults.children import FAULTS, Child, folder_of, long, start

pytestmark = FAULTS


def unpacked(archive: Path, target: Path) -> int:
    """2 if the archive is refused in one line, else 0."""
    try:
        unpack([archive], target)
    except UserError as error:
        print(error)
        return 2
    return 0


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize("kind", ["parent", "absolute", "absolute link", "link out", "zip parent"])
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, kind):
    outside, archive = tmp_path / "outside", tmp_path / "evil.tar"
    outside.mkdir()
    if kind == "zip parent":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("../outside/evil", b"x")
    elif kind == "parent":
        tar(archive, (tarfile.TarInfo("../outside/evil"), b"x"))
    elif kind == "absolute":
        tar(archive, (tarfile.TarInfo(f"{outside}/evil"), b"x"))
    else:
        where = str(outside) if kind == "absolute link" else "../outside"
        tar(archive, (link("way", where), b""), (tarfile.TarInfo("way/evil"), b"x"))
    code, out, err = Child(tmp_path, unpacked, archive, tmp_path / "images").end()
    assert code == 2, err
    assert len(out.splitlines()) == 1
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "images").exists()


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


def test_a_checkpoint_that_would_run_code_is_refused(results, tmp_path):
    folder, proof = folder_of(results), tmp_path / "executed"
    folder.mkdir(parents=True)
    content = pickle.dumps({"updates": 50, "method": Evil(proof), "optimizer": {}, "pending": []}, protocol=2)
    path = folder / "checkpoint-000000050.pt"
    path.write_bytes(hashlib.sha256(content).digest() + content)  # whoever can write it can also sign it
    pickle.loads(content)["method"].close()  # noqa: S301
    assert proof.exists()
    proof.unlink()
    code, _, err = start(results, *long()).end()
    assert not proof.exists()
    assert code == 2
    assert str(path) in err.splitlines()[-1]
    assert not list(results.glob("records/*.json"))
