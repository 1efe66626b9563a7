"""Checkpoints: a run that is killed at any moment resumes from the last one, bit for bit."""

import hashlib
import io
import logging
import pickle
import time
from pathlib import Path

import torch

from cotune_bench.errors import UserError
from cotune_bench.storage.files import write_atomically

log = logging.getLogger(__name__)

_DIGEST = hashlib.sha256().digest_size


class Checkpoints:
    """The newest two checkpoints of one run in a folder, each a file of a SHA-256 digest and what ``torch`` saved.

    A file appears whole or not at all, and the one before is kept until the new one is safe. Contents are plain
    types and tensors, so that nothing is unpickled on loading.

    Attributes:
        every: number of updates between two checkpoints.
        started: value of the monotonic clock at which the run would have begun had nothing interrupted it.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder
        self.every = every
        self.started = time.monotonic()

    def due(self, updates: int) -> bool:
        """Whether this number of updates asks for a checkpoint."""
        return updates % self.every == 0

    def save(self, updates: int, state: dict) -> Path:
        """Write the state after this many updates; the last but one is deleted afterwards."""
        buffer = io.BytesIO()
        buffer.write(bytes(_DIGEST))  # its place, so that hundreds of megabytes need not be copied behind it
        torch.save({**state, "updates": updates, "seconds": time.monotonic() - self.started}, buffer)
        content = buffer.getbuffer()
        content[:_DIGEST] = hashlib.sha256(content[_DIGEST:]).digest()
        path = self.folder / f"checkpoint-{updates:09d}.pt"
        write_atomically(path, content)
        for older in [other for other in self.files() if other < path][1:]:
            older.unlink()
        return path

    def load(self) -> dict | None:
        """The newest intact state with its number of ``updates``, None without one; damaged files are named."""
        for path in self.folder.glob(".checkpoint-*"):  # what a process killed while saving left, each as large
            path.unlink()
        for path in self.files():
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
                try:
                    state = torch.load(io.BytesIO(content[_DIGEST:]), map_location="cpu", weights_only=True)
                except pickle.UnpicklingError as error:  # its own message recommends to run what is in it
                    raise UserError(f"{path} has more than tensors in it and is not opened: delete it") from error
                self.started -= state.get("seconds", 0.0)  # checkpoints of 0.1.0 held none
                return state
            log.warning("%s is damaged and not used; the run resumes from the one before it", path)
        return None

    def files(self) -> list[Path]:
        """The checkpoint files, newest first."""
        return sorted(self.folder.glob(f"checkpoint-{9 * '[0-9]'}.pt"), reverse=True)

    def delete(self) -> None:
        """Remove all of them, once the record is written."""
        for path in self.files():
            path.unlink()
