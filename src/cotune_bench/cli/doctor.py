"""Check packages, devices, folders, weights and data sets: a line for each.

Settings such as data_root=PATH are those of a run; data=folder data.root=PATH checks your own images, too. A line
starts with OK, -- (absent, and not needed) or !! (wrong, with the remedy). Exit code 1 if anything is wrong.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cotune_bench.cli.parser import Parser

if TYPE_CHECKING:  # a missing package is the first thing to report, so that none is imported at the top
    from omegaconf import DictConfig
    from packaging.requirements import Requirement

OK, NONE, WRONG = "OK", "--", "!!"
#: Extras of those who develop the project; runs never need them.
FOR_DEVELOPERS = ("dev", "docs")
GB = 1e9
LEAST_FREE = 2 * GB  # decoded images of a middling data set
PUBLISHED_WEIGHTS = re.compile(r".*-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class Line:
    """One finding; ``text`` names what was found and, if the state is WRONG, the remedy."""

    topic: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.state}  {self.topic:9}  {self.text}"


def main(arguments: list[str]) -> int:
    """Print the lines, or one JSON object; 1 if something needed is wrong."""
    parser = Parser("doctor", __doc__)
    parser.add_argument("overrides", nargs="*", help="settings of a run, such as data_root=PATH")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.read(arguments)
    lines = examine(given.overrides)
    fine = not any(line.state == WRONG for line in lines)
    if given.json:
        print(json.dumps({"ok": fine, "lines": [asdict(line) for line in lines]}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(map(str, lines)))
    return 0 if fine else 1


def examine(overrides: Sequence[str]) -> list[Line]:
    """All lines; only those on packages if a needed one is missing."""
    lines = [Line("python", OK, f"{sys.version.split()[0]} ({sys.executable})"), *packages()]
    if any(line.state == WRONG for line in lines):
        return lines
    from cotune_bench.config import compose_config

    config = compose_config(overrides)
    lines += [*devices(), *folders(config), *weights(Path(config.cache).expanduser() / "weights")]
    return [*lines, *data_sets(config), *own_data(config)]


def packages() -> list[Line]:
    """A line for each needed package that is missing or too old, else one for all of them and one for each extra."""
    try:
        from packaging.requirements import Requirement

        required = [Requirement(text) for text in metadata.requires("cotune_bench") or ()]
    except ImportError as error:
        return [Line("package", WRONG, f"{error.name} is not installed: run make setup, or pip install {error.name}")]
    needed = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    if wrong := [one for one in needed if _problem(one)]:
        return [Line("package", WRONG, f"{_problem(one)}: pip install '{one.name}{one.specifier}'") for one in wrong]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision"))
    lines = [Line("packages", OK, f"all {len(needed)} as new as needed ({versions})")]
    for extra in metadata.metadata("cotune_bench").get_all("Provides-Extra", ()):
        members = [one for one in required if one.marker and one.marker.evaluate({"extra": extra})]
        absent = ", ".join(problem for one in members if (problem := _problem(one)))
        remedy = f"{extra}: {absent}: pip install -e '.[{extra}]' if you want it"
        if extra not in FOR_DEVELOPERS:
            lines.append(Line("extra", NONE, remedy) if absent else Line("extra", OK, extra))
    return lines


def _problem(requirement: "Requirement") -> str:
    """What is wrong with a required package, empty if nothing."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    fits = requirement.specifier.contains(version, prereleases=True)
    return "" if fits else f"{requirement.name} {version} is not {requirement.specifier}"


def devices() -> Iterator[Line]:
    """Every device that torch sees, and what ``precision=auto`` means there."""
    import torch

    from cotune_bench.backbones.precision import resolve

    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        found = torch.cuda.get_device_properties(device)
        text = f"{device}: {found.name}, {found.total_memory / GB:.0f} GB"
        yield Line("device", OK, f"{text}; precision=auto is {resolve('auto', device)}")
    if not torch.cuda.device_count():
        cuda = torch.version.cuda
        built = f"torch is built for CUDA {cuda}" if cuda else "torch is built without CUDA"
        yield Line("device", NONE, f"no GPU is visible ({built}): runs use the CPU; large networks take long there")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Line("device", OK, f"cpu: {cores} cores; precision=auto is {resolve('auto', torch.device('cpu'))}")


def folders(config: "DictConfig") -> Iterator[Line]:
    """Whether results and cache can be written, and the free space."""
    from cotune_bench.errors import UserError
    from cotune_bench.storage.files import check_writable

    for name in ("results", "cache"):
        path = Path(config[name]).expanduser()
        try:
            check_writable(path, f"{name}=")
        except UserError as error:
            yield Line(name, WRONG, str(error))
            continue
        existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        full = free < LEAST_FREE
        remedy = f": make room, or choose another with {name}=FOLDER" if full else ""
        yield Line(name, WRONG if full else OK, f"{path} can be written, {free / GB:.1f} GB free{remedy}")


def weights(folder: Path) -> Iterator[Line]:
    """Every file of published weights in the cache against the hash in its name."""
    from cotune_bench.backbones.weights import file_sha256

    files = {path: match[1] for path in sorted(folder.glob("*.pth")) if (match := PUBLISHED_WEIGHTS.match(path.name))}
    for path, named in files.items():
        if file_sha256(path).startswith(named):
            yield Line("weights", OK, f"{path.name}, {path.stat().st_size / 1e6:.0f} MB, hash as published")
        else:
            yield Line("weights", WRONG, f"{path} is damaged: delete it, the next run fetches it again")
    if not files:
        yield Line("weights", NONE, f"none in {folder}: fetched at the first run of a backbone that needs them")


def data_sets(config: "DictConfig") -> Iterator[Line]:
    """Every published data set of files: its counts against the official ones; files are looked for, not decoded."""
    from cotune_bench.config import choices, compose_config
    from cotune_bench.config.overrides import path_override
    from cotune_bench.config.own_images import OWN_IMAGES

    shared = path_override("data_root", config.data_root)
    for name in choices("data"):
        if name not in OWN_IMAGES:
            asked = name == config.data.name  # its folder may be given
            one = config if asked else compose_config([f"data={name}", shared])
            if "cache" not in one.data:  # the others are drawn
                yield _data_set(name, one)


def _data_set(name: str, config: "DictConfig") -> Line:
    from cotune_bench.config import build
    from cotune_bench.data.prepare.run import expected_counts
    from cotune_bench.data.readers.common import counts, problems
    from cotune_bench.errors import UserError

    root = config.data.get("root")
    try:
        official = expected_counts(name, config.data)
        data = build(config.data)
    except UserError as error:
        # The folder of all data sets need not hold this one.
        partly = root not in (None, config.data_root) and Path(root).is_dir() and any(Path(root).iterdir())
        return Line("data", WRONG if partly else NONE, str(error).removeprefix("data "))
    if found := problems(data, official, images=False):
        return Line("data", WRONG, f"{name}: {'; '.join(found)}: cotune-bench prepare-data {name}")
    counted = ", ".join(f"{number:,} {part}" for part, number in counts(data).items())
    return Line("data", OK, f"{name}: {counted}{' as published' if official else ''}")


def own_data(config: "DictConfig") -> list[Line]:
    """The user's own images, if the overrides name some."""
    from cotune_bench.config.own_images import own_images
    from cotune_bench.data.quality import report
    from cotune_bench.errors import UserError

    if not own_images(config.data):
        return []
    try:
        first, *rest = report(config)
    except UserError as error:
        return [Line("data", WRONG, str(error).removeprefix("data "))]
    warnings = [Line("data", NONE, line.removeprefix("warning: ")) for line in rest]
    return [Line("data", OK, first.removeprefix("data ")), *warnings]
