"""Predict pictures with a kept network.

Runs keep their network with keep_checkpoint=true, which is the default for data=folder and data=imagelist.
results=FOLDER names the results folder, device=cpu the device.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cotune_bench.cli.parser import Parser, warn
from cotune_bench.config.protocol import VIEWS
from cotune_bench.data.readers.folder import IMAGES
from cotune_bench.errors import UserError
from cotune_bench.inference.kept_network import Kept
from cotune_bench.reports.tables import spaced
from cotune_bench.storage.escape import plain
from cotune_bench.storage.find_run import find_run
from cotune_bench.storage.relationship_file import Share, shares

Rows = list[tuple[Path, list[Share], list[Share]]]


def main(arguments: list[str]) -> int:
    """Print the most probable classes of every picture; unreadable files are named and counted."""
    parser = Parser("predict", __doc__, results="results", device="auto")
    parser.add_argument("run", help="key, beginning of a key, or folder of a run")
    parser.add_argument("images", nargs="+", help="picture, or folder of pictures")
    parser.add_argument("--top", type=int, default=5, help="classes to show (5)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture")
    parser.add_argument("--views", choices=VIEWS, help="crops of each picture (those of the run's test)")
    parser.add_argument("--explain", action="store_true", help="cotuning: which source classes a picture resembles")
    parser.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be read")
    given = parser.read(arguments)
    if given.top < 1:
        raise UserError(f"--top {given.top} cannot be used: it is a number of classes above 0")
    kept = Kept.of(find_run(Path(given.results), given.run))
    files, ignored = image_files(given.images)

    from cotune_bench.inference.execution import devices  # torch takes seconds to import
    from cotune_bench.inference.predict import Predictor, predict_files

    predictor = Predictor.of(kept, devices(given.device)[0], views=given.views, explain=given.explain)
    if given.explain and kept.card["source"]["weights"] == "random":
        warn(["the source head has random weights: what a picture resembles means nothing"])
    good, predicted, bad = predict_files(predictor, files, skip_bad=given.skip_bad)
    targets = [shares(row, kept.classes)[: given.top] for row in predicted.probabilities]
    heads = [] if predicted.source is None else predicted.source
    sources = [shares(row, kept.card["source"]["classes"])[: given.top] for row in heads] or [[]] * len(good)
    rows = list(zip(good, targets, sources, strict=True))
    for line in as_json(rows) if given.json else as_lines(rows):
        print(line)
    warn([f"left out {line}" for line in bad])
    if bad or ignored:
        warn([f"{len(good)} pictures predicted, {len(bad)} unreadable and {ignored} other files left out"])
    return 0


def image_files(paths: Sequence[str]) -> tuple[list[Path], int]:
    """The files named, and those in the folders named and below that end as images do, sorted; other files' number.

    Raises:
        UserError: a path does not exist, or a folder holds no images.
    """
    files: list[Path] = []
    ignored = 0
    for path in map(Path, paths):
        if path.is_file():
            files.append(path)
            continue
        if not path.is_dir():
            raise UserError(f"{path} is no file and no folder: give images, or folders of images")
        below = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
        held = [file for file in below if not any(part.startswith(".") for part in file.parts)]
        images = [path / file for file in held if file.suffix.lower() in IMAGES]
        if not images:
            raise UserError(f"{path} holds no images ({' '.join(sorted(IMAGES))}), in folders below it neither")
        files += images
        ignored += len(held) - len(images)
    return files, ignored


def as_json(rows: Rows) -> Iterator[str]:
    """A line of JSON for each file: ``file``, ``top`` and, with a source head, ``resembles``."""
    for file, targets, sources in rows:
        named = {"top": targets, **({"resembles": sources} if sources else {})}
        line = {
            name: [{"class": share.source, "probability": share.percent / 100} for share in found]
            for name, found in named.items()
        }
        yield json.dumps({"file": str(file), **line}, ensure_ascii=False)


def as_lines(rows: Rows) -> Iterator[str]:
    """A line for each file, its classes in percent; with a source head, another line of source classes."""
    width = max(len(plain(file)) for file, _, _ in rows)
    lines = spaced([[plain(file), *map(_percent, targets)] for file, targets, _ in rows])
    for line, (_, _, sources) in zip(lines, rows, strict=True):
        yield line
        if sources:
            yield f"{' ' * width}  resembles {', '.join(map(_percent, sources))}"


def _percent(share: Share) -> str:
    return f"{plain(share.source)} {share.percent:.1f} %"
