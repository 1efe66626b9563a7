"""Seconds that a user waits: for --help, for the status of a table, and for the first update on prepared data."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import environment, parser, report, row, row_line
from PIL import Image

ROOT = Path(__file__).parents[1]
#: Tells that the first update is about to be computed, and ends.
FIRST_UPDATE = """
import os, sys
from cotune_bench import cli
from cotune_bench.methods.finetune import FineTune
def forward(self, batch):
    os._exit(42)
FineTune.forward = forward
sys.exit(cli.main(sys.argv[1:]))
"""
CLASSES, PER_CLASS = 20, 60


def main() -> None:
    """Print medians; every command is a process of its own."""
    arguments = parser(__doc__, rounds=5).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put_pictures(folder / "pictures")
        places = [f"results={folder / 'results'}", f"cache={folder / 'cache'}"]
        own = ["data=folder", f"data.root={folder / 'pictures'}", "protocol=paper", "backbone=resnet50"]
        run = ["-c", FIRST_UPDATE, "method=finetune", "backbone.weights=random", *places]
        commands = {
            "--help": (["run.py", "--help"], 0),
            "status of Table 2": (["scripts/status.py", "table=table2", places[0]], 0),
            "first update, digits": (run, 42),
            f"first update, {CLASSES * PER_CLASS} pictures, ResNet-50": ([*run, *own], 42),
        }
        seconds = {name: [] for name in commands}
        for turn in range(arguments.rounds + 1):  # the first prepares the pictures and wakes the libraries
            for name, (command, code) in commands.items():
                started = time.perf_counter()
                done = subprocess.run(  # noqa: S603
                    [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
                )
                if done.returncode != code:
                    sys.exit(f"{name}: {done.stderr}")
                if turn:
                    seconds[name].append(time.perf_counter() - started)
    rows = [row(f"start: {name}", {"ours": times}) for name, times in seconds.items()]
    figures = {"environment": environment(arguments.threads, ("torch", "hydra-core")), "rows": rows}
    report(figures, [*map(row_line, rows)], arguments.json)


def put_pictures(root: Path) -> None:
    """Noise of 300 x 200 pixels in folders of classes."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / f"class{label:02d}"
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:03d}.jpg")


if __name__ == "__main__":
    main()
