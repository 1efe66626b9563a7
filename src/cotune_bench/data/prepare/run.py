"""Getting a data set: download, verify, unpack, then compare what is there with the official numbers."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from cotune_bench.config import build, reader
from cotune_bench.config.own_images import OWN_IMAGES
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.prepare import coco_rebuild
from cotune_bench.data.prepare.archives import unpack
from cotune_bench.data.prepare.download import fetch, verify, writing
from cotune_bench.data.prepare.sources import SOURCES, Source
from cotune_bench.data.readers.common import check, missing_files
from cotune_bench.errors import UserError


def prepare(name: str, config: DictConfig, *, base: str = "") -> bool:
    """Get every part of a data set that is not there; ``base`` replaces the addresses' folders.

    What cannot be downloaded is told, with the place to put it, and False is given.
    """
    if name not in SOURCES:
        made = name == "coco70-rebuilt"
        print(f"{name}: " + ("made by coco70 --from-coco PATH" if made else "there is nothing to download"))
        return True
    if _complete(config.data):
        print(f"{name}: it is there already")
        return True
    root, store = Path(config.data.root), Path(config.data_root)
    with _alone(name, config):
        by_hand = [source for source in SOURCES[name] if not _got(source, root, store, base)]
    if not by_hand or _complete(config.data):
        return True
    print(f"{name} cannot be downloaded. Get these by hand, then run this command again:")
    for source in by_hand:
        print(f"  {source.file} from {source.by_hand}: put it in {store}, or its content at {root / source.to}")
    print(f"  Other layouts that are accepted: docs/data/{name}.md")
    return False


def _got(source: Source, root: Path, store: Path, base: str) -> bool:
    """Put one source in its place, from an archive that is there or from the web; False if there is neither."""
    if _there(root / source.to, source):
        return True
    files = _found(source, (store, root, root.parent))
    if not files and source.url:
        files = [root / source.to if source.holds is None else store / source.file]
        fetch(f"{base}/{source.file}" if base else source.url, files[0])
    for file in files:
        verify(file, source.md5)
    if files:
        _place(source, files, root)
    return bool(files)


def rebuild(config: DictConfig, source: str, min_side: int) -> None:
    """Crop coco70-rebuilt from COCO 2017 in the folder ``source``; crops have at least ``min_side`` pixels a side."""
    with _alone("coco70-rebuilt", config):
        coco_rebuild.rebuild(Path(source), Path(config.data.root), min_side=min_side)


def check_data(name: str, config: DictConfig) -> int:
    """Print what is there of a data set and what is not; 0 if it is complete, 1 if not."""
    section = config.data
    try:
        data = build(section)
        expected = expected_counts(name, section)
    except UserError as error:
        print(f"problem: {error}", file=sys.stderr)
        return 1
    report = check(data, expected)
    counts = ", ".join(f"{number:,} {what}" for what, number in report.counts.items())
    print(f"{name}: {counts}")
    if isinstance(data, ImageList):
        found = len(data.files) - len(report.missing)
        missing, unreadable = len(report.missing), len(report.unreadable)
        print(f"{data.root}: {found:,} files found, {missing:,} missing, {unreadable:,} unreadable")
    for problem in report.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if not report.problems:
        print("complete")
    return 1 if report.problems else 0


def expected_counts(name: str, section: DictConfig) -> dict[str, int]:
    """Official counts of a data set; those of the recipe for a rebuilt data set; none for the user's own images."""
    if name == "coco70-rebuilt":
        return coco_rebuild.counts(Path(section.root))
    if name in OWN_IMAGES:
        return {}
    return dict(reader(section).official)


def _complete(section: DictConfig) -> bool:
    try:
        data = build(section)
    except UserError:
        return False
    return not isinstance(data, ImageList) or not missing_files(data)


def _there(target: Path, source: Source) -> bool:
    """A target's content comes whole; only a whole data set's folder may hold other things, such as its archive."""
    if source.holds is None:
        return target.is_file()
    return source.to != "." and target.is_dir() and any(target.iterdir())


def _found(source: Source, folders: Sequence[Path]) -> list[Path]:
    for folder in folders:
        files = sorted(path for path in folder.glob(source.file) if path.suffix not in (".part", ".bad"))
        if files:
            return files
    return []


def _place(source: Source, files: Sequence[Path], root: Path) -> None:
    target = root / source.to
    if source.holds is not None:
        if target.is_dir() and any(target.iterdir()):
            target = target / target.name  # the readers look there, too
        if target.is_dir() and any(target.iterdir()):
            raise UserError(f"{target} is there, but not complete: move it away and run this command again")
        unpack(files, target, source.holds, parts=source.file if "*" in source.file else "")
        print(f"unpacked {files[0].name} to {target}; the archive is kept")
        return
    if files[0] != target:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.copy")
            shutil.copyfile(files[0], temporary)
            temporary.replace(target)


def _alone(name: str, config: DictConfig):
    """A lock, so that two commands do not write the same files."""
    store = Path(config.data_root)
    with writing(store):
        store.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(store / f".{name}.lock").acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"another prepare_data.py {name} is at work in {store}: wait for it") from error
