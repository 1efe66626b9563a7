"""Draw docs/images/rooms.svg, the rooms of the package and their imports: python scripts/draw_rooms.py [BEFORE]

BEFORE is a revision of git whose package is drawn beside today's, by default the last one without rooms.
"""

import argparse
import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import matplotlib as mpl
import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

ROOT = Path(__file__).parents[1]
PACKAGE = "src/cotune_bench"
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
FLAT = "b3048c8"
INK, LINE, UP = "#1b2a3a", "#5b7fa6", "#d9534f"

Imports = Counter[tuple[str, str]]


def files_of(revision: str | None) -> dict[str, str]:
    """Text of every module by its path in the package, at a revision or as it lies here."""
    if revision is None:
        folder = ROOT / PACKAGE
        return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    names = _git("ls-tree", "-r", "--name-only", revision, f"{PACKAGE}/").splitlines()
    paths = [name for name in names if name.endswith(".py")]
    return {path.removeprefix(f"{PACKAGE}/"): _git("show", f"{revision}:{path}") for path in paths}


def imports_of(files: dict[str, str]) -> Imports:
    """How many modules of one part import another part; parts are the folders and flat files of the package."""
    parts = {name.partition("/")[0].removesuffix(".py") for name in files} - {"__init__"}
    found: Imports = Counter()
    for name, text in files.items():
        part = name.partition("/")[0].removesuffix(".py")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{one.name}" for one in node.names]
            elif isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            else:
                continue
            targets = {one.split(".")[1] for one in names if one.startswith("cotune_bench.")}
            found.update((part, target) for target in targets & parts - {part} if part != "__init__")
    return found


def in_rooms(imports: Imports) -> Imports:
    """The same, with the flat files of today but ``api.py`` as one room, the ground."""
    rooms = {path.name for path in (ROOT / PACKAGE).iterdir() if path.is_dir()} | {"api"}
    found: Imports = Counter()
    for edge, count in imports.items():
        start, end = (part if part in rooms else "ground" for part in edge)
        if start != end:
            found[start, end] += count
    return found


def floors_of(imports: Imports) -> list[list[str]]:
    """Parts by the longest way down from them; those of a circle share a floor. Neighbours lie near each other."""
    whole = nx.DiGraph(list(imports))
    circles = nx.condensation(whole)
    floors: list[list[str]] = [
        sorted(part for circle in layer for part in circles.nodes[circle]["members"])
        for layer in nx.topological_generations(circles)
    ]
    for _ in range(8):
        place = {part: (number + 0.5) / len(floor) for floor in floors for number, part in enumerate(floor)}
        for floor in floors:
            near = {part: [place[other] for other in nx.all_neighbors(whole, part)] for part in floor}
            floor.sort(key=lambda part: sum(near[part]) / len(near[part]))
    return floors


def draw(axes: Axes, imports: Imports, title: str, size: float) -> None:
    """Boxes on their floors and an arrow for every pair of parts, in red where it does not point downwards."""
    floors = floors_of(imports)
    spots = (
        (part, (n + 0.5) / len(floor), -height) for height, floor in enumerate(floors) for n, part in enumerate(floor)
    )
    place = {part: (x, y) for part, x, y in spots}
    look = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": INK, "linewidth": 0.6}
    boxes = {
        part: axes.text(
            *at, part, ha="center", va="center", size=size, color=INK, zorder=3, bbox=look
        ).get_bbox_patch()
        for part, at in place.items()
    }
    for number, (start, end) in enumerate(sorted(imports)):
        (x, y), (u, v) = place[start], place[end]
        straight = abs(x - u) > 0.05 or y - v < 1.5
        bend = 0.0 if straight else (0.1 + 0.055 * (y - v)) * (-1) ** number
        arrow = FancyArrowPatch(
            (x, y), (u, v), patchA=boxes[start], patchB=boxes[end], connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>", mutation_scale=5, shrinkA=0, shrinkB=1, linewidth=0.6,
            color=LINE if v < y else UP, clip_on=False,
        )  # fmt: skip
        axes.add_patch(arrow)
    axes.set(xlim=(0, 1), ylim=(0.6 - len(floors), 0.6))
    axes.set_title(f"{title}: {len(place)} parts, {len(imports)} arrows", size=9, color=INK)
    axes.axis("off")


def main(revision: str = FLAT) -> None:
    """Write the picture."""
    mpl.rcParams.update({"svg.hashsalt": "rooms", "svg.fonttype": "none"})
    figure = Figure(figsize=(10, 6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    draw(left, imports_of(files_of(revision)), "Before", 5.5)
    draw(right, in_rooms(imports_of(files_of(None))), "Now", 8)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})
    text = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.4g}", PICTURE.read_text(encoding="utf-8"))
    PICTURE.write_text(text, encoding="utf-8")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603, S607


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", default=FLAT, help="revision whose package is drawn beside today's")
    main(parser.parse_args().before)
