"""Which images train, validate and test, as lists that people can read and ``data=imagelist`` accepts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.target import TargetData
from cotune_bench.errors import UserError
from cotune_bench.storage.files import digest, write_atomically


@dataclass(frozen=True)
class SplitFiles:
    """The lists of one split: file and content of each; never changed once they are written."""

    texts: Mapping[Path, str]

    def check(self) -> None:
        """UserError if a list exists and names other images or labels."""
        for path, text in self.texts.items():
            if path.exists() and path.read_bytes() != text.encode():
                raise UserError(
                    f"{path} lists other images than the data set now gives: the data changed since the first run; "
                    "get the old data back, or use another results=FOLDER"
                )

    def write(self) -> None:
        """Write the lists that do not exist yet, each whole or not at all; UserError as in :meth:`check`."""
        self.check()
        for path, text in self.texts.items():
            if not path.exists():
                write_atomically(path, text.encode())


def split_files(
    images: ImageList | Dataset,
    data: TargetData,
    protocol: Protocol,
    *,
    settings: Mapping[str, object],
    rate: float,
    split_seed: int,
    folder: Path,
) -> SplitFiles:
    """The lists ``<data>-rate<r>-split<s>-<hash>-{train,val,test}.txt`` in ``folder``, of lines ``<image> <label>``.

    An image is its file below the data set's root, or its number where the data set is arrays. A part without
    images has no list. The hash is of the rule of the split and of the reader's ``settings`` that define the result.
    """
    rule = {"data": dict(settings), "rate": float(rate), "val": float(protocol.val), "order": protocol.split_order}
    name = f"{data.name}-rate{rate:g}-split{split_seed}-{digest(rule)[:8]}"
    parts = {"train": data.plain.images, "val": data.val.images, "test": data.test.images}
    texts = {}
    for part, members in parts.items():
        if len(members):
            named = [images.files[row] for row in members.index] if isinstance(images, ImageList) else members.index
            lines = [f"{image} {label}\n" for image, label in zip(named, members.labels, strict=True)]
            texts[folder / f"{name}-{part}.txt"] = "".join(lines)
    return SplitFiles(texts)
