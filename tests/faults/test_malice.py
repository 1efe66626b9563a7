"""Files from others that would do harm, opened in processes of their own."""

import hashlib
import pickle
from pathlib import Path

from faults.children import FAULTS, folder_of, long, start

pytestmark = FAULTS


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
