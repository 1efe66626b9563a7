"""The rooms of the package: a module imports from its own room and from those below it, inside functions too."""

import ast
from collections import Counter
from pathlib import Path

from cotune_bench.config import PACKAGE

GROUND = {
    "errors",
    "parallel",
    "metrics",
    "transferability",
    "relationship",
    "softmax_regression",
    "array_checks",
    "penalty_trials",
}
#: Rooms that the modules of a room may import besides their own.
ALLOWED = {
    **dict.fromkeys(GROUND, GROUND),
    "storage": GROUND,
    "config": GROUND | {"storage"},
    "backbones": GROUND | {"storage"},
    "data": GROUND | {"storage", "config", "backbones"},
    "methods": GROUND | {"storage", "config", "backbones", "data"},
    "inference": GROUND | {"storage", "config", "backbones", "data", "methods"},
    "training": GROUND | {"storage", "config", "backbones", "data", "methods", "inference"},
    "reports": GROUND | {"storage", "config"},
    "api": GROUND | {"storage", "config", "backbones", "data", "methods", "inference", "training"},
    "__main__": {"cli"},
    "cli": GROUND | {"storage", "config", "backbones", "data", "methods", "inference", "training", "reports"},
}
WITHOUT_TORCH = ("storage", "config", "reports")
#: Modules that import others by name: what the yaml files name, the public names, commands, an optional library.
DYNAMIC = {
    "config/build.py",
    "__init__.py",
    "cli/__init__.py",
    "backbones/efficientnet_lite.py",
    "backbones/plain_network.py",
}
MOST_LINES = 300
MOST_FILES = {
    "reports": 18,
    "cli": 18,
    "methods": 41,
    "data/readers": 24,
}  # 16 elsewhere; one for each method and data set

FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [file for file in FILES if file != "__init__.py"]  # its imports are the public names


def room(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def imported(file: str) -> list[str]:
    """Dotted names that a file imports: ``a.b.c`` for ``from a.b import c``."""
    names = []
    for node in ast.walk(ast.parse(FILES[file].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            names += [f"{node.module}.{one.name}" for one in node.names]
    return names


def test_modules_import_from_their_own_room_and_from_those_below():
    for file in MODULES:
        names = [name.split(".") for name in imported(file)]
        assert ["cotune_bench"] not in names, file
        assert {name[1] for name in names if name[0] == "cotune_bench"} <= ALLOWED[room(file)] | {room(file)}, file
        if room(file) in WITHOUT_TORCH:
            assert not {"torch", "torchvision"} & {name[0] for name in names}, file


def test_modules_are_imported_by_statements():
    texts = {file: path.read_text(encoding="utf-8") for file, path in FILES.items()}
    assert {file for file, text in texts.items() if "import_module" in text or "__import__" in text} == DYNAMIC


def test_files_and_rooms_are_small():
    assert [file for file in MODULES if len(FILES[file].read_text("utf-8").splitlines()) > MOST_LINES] == []
    sizes = Counter(str(Path(file).parent) for file in FILES if not file.endswith("__init__.py"))
    assert {folder: size for folder, size in sizes.items() if size > MOST_FILES.get(folder, 16)} == {}
