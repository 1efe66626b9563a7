"""Prepare a data set: download, verify, unpack, then compare what is there with the official numbers."""

import json
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from cotune_bench.config import build, reader
from cotune_bench.config.own_images import OWN_IMAGES
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.prepare.archives import unpack
from cotune_bench.data.prepare.download import fetch, verify
from cotune_bench.data.prepare.sources import SOURCES, Source
from cotune_bench.data.readers.common import counts, missing, missing_files, problems
from cotune_bench.errors import UserError
from cotune_bench.storage.files import write_atomically


def prepare(name: str, config: DictConfig) -> bool:
    """Get every missing part of a data set; False, and a list, if some must be downloaded manually.

    Raises:
        UserError: no connection, a wrong hash, an unusable archive, a full disk, or another command at work.
    """
    if name not in SOURCES:
        print(f"{name}: there is nothing to download")
        return True
    if _complete(config.data):
        print(f"{name}: already there")
        return True
    root, store = Path(config.data.root), Path(config.data_root)
    try:
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(store / f".{name}.lock", timeout=0):
            lacking = [source for source in SOURCES[name] if not _obtain(source, root, store)]
            if not lacking and (arrange := reader(config.data).arrange):
                arrange(root)
    except Timeout as error:
        raise UserError(f"another cotune-bench prepare-data {name} is running in {store}: wait for it") from error
    except OSError as error:
        raise UserError(f"{root} cannot be written ({error}): make room, or choose another data_root") from error
    if not lacking or _complete(config.data):
        return True
    print(f"{name} cannot be downloaded. Download these files manually, then run this command again:")
    for source in lacking:
        print(f"  {source.file} from {source.where}: put it in {store}, or its content at {root / source.to}")
    print(f"  Other layouts that are accepted: docs/data/{name}.md")
    return False


def _obtain(source: Source, root: Path, store: Path) -> bool:
    """Put one source in its place, from a file that is there or from the web; False if there is neither."""
    target = root / source.to
    # An archive's folder comes as a whole; only a whole data set's may hold other things, such as the archive.
    if target.is_file() or (source.to != "." and _in_use(target)):
        return True
    files = next((found for folder in (store, root, root.parent) if (found := sorted(folder.glob(source.file)))), [])
    for file in files:
        verify(file, source.md5)
    if not files and source.url:
        files = [target if source.holds is None else store / source.file]
        fetch(source.url, files[0], source.md5)
    if not files:
        return False
    if source.holds is not None:
        if _in_use(target):  # the readers look there, too
            target /= Path(source.holds).name or target.name
        if _in_use(target):
            raise UserError(f"{target} is there, but not complete: move it away and run this command again")
        print(f"unpacking {files[0].name} to {target}; the archive is kept")
        unpack(files, target, source.holds)
        for name, md5 in source.lists.items():
            verify(target / name, md5)
    elif files[0] != target:
        write_atomically(target, files[0].read_bytes())
    return True


def _in_use(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def check_data(name: str, config: DictConfig) -> int:
    """Print what is there of a data set and what is not; 0 if it is complete, 1 if not."""
    section = config.data
    try:
        expected = expected_counts(name, section)
        data = build(section)
    except UserError as error:
        print(f"problem: {error}", file=sys.stderr)
        return 1
    print(f"{name}: {', '.join(f'{number:,} {part}' for part, number in counts(data).items())}")
    found = problems(data, expected)
    for problem in found:
        print(f"problem: {problem}", file=sys.stderr)
    if not found:
        print("complete")
    return 1 if found else 0


def expected_counts(name: str, section: DictConfig) -> dict[str, int]:
    """Official counts of a data set; those of the recipe for a rebuilt data set; none for a user's own images."""
    if name in OWN_IMAGES:
        return {}
    if name != "coco70-rebuilt":
        return reader(section).numbers(section)
    path = Path(section.root, "rebuilt.json")
    if not path.is_file():
        raise missing(name, path, "make it with python scripts/rebuild_coco70.py COCO")
    return json.loads(path.read_text(encoding="utf-8"))["counts"]


def _complete(section: DictConfig) -> bool:
    try:
        data = build(section)
    except UserError:
        return False
    return not isinstance(data, ImageList) or not missing_files(data)
