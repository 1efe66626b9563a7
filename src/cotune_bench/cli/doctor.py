"""Is everything there that runs need? A line for each thing: OK, -- where nothing is needed, !! with what to do.

Only what is surely there is imported at the top, because a missing package is the first thing to tell.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

OK, NONE, WRONG = "OK", "--", "!!"
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
#: Extras of those who develop the project; runs never need them.
FOR_DEVELOPERS = ("dev", "docs")
GB = 1e9
LEAST_FREE = 2 * GB  # decoded images of a middling data set
PUBLISHED_WEIGHTS = re.compile(r".*-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class Line:
    """One thing that was looked at; ``text`` says what was found and, if the state is WRONG, what to do."""

    topic: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.state}  {self.topic:9}  {self.text}"


def examine(overrides: Sequence[str]) -> list[Line]:
    """All lines; the later ones only if the needed packages are there."""
    lines = [*python(), *packages()]
    if any(line.state == WRONG for line in lines):
        return lines
    from cotune_bench.config import compose_config

    config = compose_config(overrides)
    lines += [*extras(), *devices(), *folders(config), *weights(Path(config.cache).expanduser() / "weights")]
    return [*lines, *data_sets(config), *own_data(config)]


def main(arguments: Sequence[str]) -> int:
    """Print the lines, or one JSON object; 1 if something needed is wrong."""
    as_json = "--json" in arguments
    lines = examine([argument for argument in arguments if argument != "--json"])
    fine = not any(line.state == WRONG for line in lines)
    if as_json:
        print(json.dumps({"ok": fine, "lines": [asdict(line) for line in lines]}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(map(str, lines)))
    return 0 if fine else 1


# Packages ---------------------------------------------------------------------------------------------------------


def python() -> list[Line]:
    """The interpreter against pyproject's lower bound."""
    _, _, least = requirements()
    found = ".".join(map(str, sys.version_info[:3]))
    if not _reaches(found, least):
        return [Line("python", WRONG, f"{found}, {least} is needed: make PYTHON=/path/to/python{least}")]
    return [Line("python", OK, f"{found} ({sys.executable})")]


def packages() -> list[Line]:
    """What is needed in any case: a line for all that is there, and one for each that is not."""
    needed, _, _ = requirements()
    wrong = [Line("package", WRONG, f"{told}: pip install '{text}'") for text in needed if (told := _lacking(text))]
    names = [re.split("[<>=~!]", text)[0] for text in needed]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision") if _version(name))
    there = Line("packages", OK, f"{len(names) - len(wrong)} of {len(names)} as new as needed ({versions})")
    return [*wrong, *([] if wrong else [there])]


def extras() -> list[Line]:
    """The optional ones."""
    lines = []
    for extra, needed in requirements()[1].items():
        if extra in FOR_DEVELOPERS:
            continue
        lacking = [told for text in needed if (told := _lacking(text))]
        remedy = f"{', '.join(lacking)}: pip install -e '.[{extra}]' if you want it"
        lines.append(Line("extra", NONE if lacking else OK, f"{extra}: {remedy}" if lacking else extra))
    return lines


def requirements() -> tuple[list[str], dict[str, list[str]], str]:
    """Needed packages, those of each extra, and the least Python: of pyproject.toml, else as installed."""
    if PYPROJECT.exists():
        import tomllib

        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
        return project["dependencies"], project["optional-dependencies"], project["requires-python"].lstrip(">=")
    needed, optional = [], {}
    for text in metadata.requires("cotune_bench") or ():
        requirement, _, condition = text.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)", condition)
        (optional.setdefault(extra[1], []) if extra else needed).append(requirement.strip())
    return needed, optional, (metadata.metadata("cotune_bench")["Requires-Python"] or "3").lstrip(">=")


def _lacking(requirement: str) -> str:
    """What is wrong with a required package, or nothing."""
    name = re.split("[<>=~!]", requirement)[0].strip()
    found, least = _version(name), re.search(r"[>~]=\s*([\d.]+)", requirement)
    if found is None:
        return f"{name} is not installed"
    if least and not _reaches(found, least[1]):
        return f"{name} {found} is older than {least[1]}"
    return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _reaches(found: str, least: str) -> bool:
    numbers = [[int(part) for part in re.findall(r"\d+", text.partition("+")[0])] for text in (found, least)]
    return numbers[0] >= numbers[1]


# Machine ----------------------------------------------------------------------------------------------------------


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
        built = (
            f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        )
        yield Line("device", NONE, f"no GPU is visible ({built}): runs use the CPU; large networks take long there")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = torch.device("cpu")
    yield Line("device", OK, f"cpu: {cores} cores; precision=auto is {resolve('auto', cpu)}")


def folders(config: "DictConfig") -> Iterator[Line]:
    """Whether results and cache can be written, and how much room there is."""
    for name in ("results", "cache"):
        path = Path(config[name]).expanduser()
        there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            reason = error.strerror or type(error).__name__
            yield Line(name, WRONG, f"{path} cannot be written ({reason}): choose another with {name}=FOLDER")
            continue
        free = shutil.disk_usage(there).free
        text = f"{path} can be written, {free / GB:.1f} GB free"
        if free < LEAST_FREE:
            yield Line(name, WRONG, f"{text}: make room, or choose another with {name}=FOLDER")
        else:
            yield Line(name, OK, text)


def weights(folder: Path) -> Iterator[Line]:
    """Every file of published weights in the cache against the hash in its name."""
    from cotune_bench.backbones.weights import file_sha256

    files = sorted(path for path in folder.glob("*.pth") if PUBLISHED_WEIGHTS.fullmatch(path.name))
    for path in files:
        named = PUBLISHED_WEIGHTS.fullmatch(path.name)
        assert named is not None  # noqa: S101
        if file_sha256(path).startswith(named[1]):
            yield Line("weights", OK, f"{path.name}, {path.stat().st_size / 1e6:.0f} MB, hash as published")
        else:
            yield Line("weights", WRONG, f"{path} is damaged: delete it, the next run fetches it again")
    if not files:
        yield Line("weights", NONE, f"none in {folder}: fetched at the first run of a backbone that needs them")


# Data -------------------------------------------------------------------------------------------------------------


def data_sets(config: "DictConfig") -> Iterator[Line]:
    """Every published data set: its counts against the official ones; files are looked for, not decoded."""
    from cotune_bench.config import choices, compose_config
    from cotune_bench.config.overrides import path_override
    from cotune_bench.config.own_images import OWN_IMAGES

    shared = [path_override("data_root", config.data_root)]
    for name in choices("data"):
        if name not in OWN_IMAGES:
            asked = name == config.data.name  # its folder may be given
            yield _data_set(name, config if asked else compose_config([f"data={name}", *shared]))


def _data_set(name: str, config: "DictConfig") -> Line:
    from cotune_bench.config import build
    from cotune_bench.data.prepare.run import expected_counts
    from cotune_bench.data.readers.common import check
    from cotune_bench.errors import UserError

    root = config.data.get("root")
    absent = Line("data", NONE, f"{name} is not in {root}: python scripts/prepare_data.py {name}, if you want it")
    if root is not None and not _holds_something(Path(root)):
        return absent
    try:
        official = expected_counts(name, config.data)
        with TemporaryDirectory() as folder:  # what a reader keeps in the cache is not for an examination to leave
            own = {"cache": folder} if "cache" in config.data else {}
            report = check(build(config.data, **own), official, images=False)
    except UserError as error:
        if root is None:  # it comes with a package, perhaps an extra
            return Line("data", NONE, str(error))
        # What lies in the folder of all data sets need not be this one.
        return absent if root == config.data_root else Line("data", WRONG, str(error))
    if report.problems:
        return Line("data", WRONG, f"{name}: {'; '.join(report.problems)}: python scripts/prepare_data.py {name}")
    counts = ", ".join(f"{number:,} {what}" for what, number in report.counts.items())
    return Line("data", OK, f"{name}: {counts}{' as published' if official else ''}")


def own_data(config: "DictConfig") -> Iterable[Line]:
    """The user's own images, where the overrides name some."""
    from cotune_bench.config.own_images import own_images
    from cotune_bench.errors import UserError

    if not own_images(config.data):
        return []
    from cotune_bench.data.quality import report

    try:
        first, *rest = report(config)
    except UserError as error:
        return [Line("data", WRONG, str(error))]
    return [
        Line("data", OK, first.removeprefix("data ")),
        *(Line("data", NONE, line.removeprefix("warning: ")) for line in rest),
    ]


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
