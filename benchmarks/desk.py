"""A cell of the desk benchmark: a run as it is against a plain loop with a DataLoader, and the whole grid.

Both sides make 300 updates of 48 digits on the same weights with one thread, then validate and test. The plain side
keeps digits as PIL images, turns them into tensors one by one in two worker processes started again for
every pass over the images, and updates as plain_step.py does. `--grid` then times table=desk with all its files.
"""

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from harness import alternate, environment, exponent, parser, report, row, row_line, timed
from PIL import Image
from plain_step import Plain
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cotune_bench.config import compose_config
from cotune_bench.data.readers import digits
from cotune_bench.training.experiment import Experiment

ROOT = Path(__file__).parents[1]
METHOD = "cotuning"


def main() -> None:
    arguments = parser(__doc__, rounds=2)
    arguments.add_argument("--grid", action="store_true", help="the small table, too: some minutes")
    options = arguments.parse_args()
    figures: dict = {"environment": environment(1, ("torch", "torchvision")), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        ours(folder)  # finds the relationship and wakes the libraries
        seconds = alternate({"ours": partial(ours, folder), "plain": partial(plain, folder)}, options.rounds)
        figures["rows"].append(row("desk: a run of Co-Tuning, 15 %", seconds))
        updates = [75, 150, 300]
        spent = [
            timed(partial(ours, folder, f"protocol.updates={count}", "protocol.drop_at=[]")) for count in updates
        ]
        figures["growth"] = {"updates": updates, "seconds": spent, "exponent": exponent(updates, spent)}
    lines = [*map(row_line, figures["rows"]), f"ours over updates: exponent {figures['growth']['exponent']:.2f}"]
    if options.grid:
        figures["rows"] += [row("desk: table=desk and its files", {"ours": [timed(grid)]})]
        lines.append(row_line(figures["rows"][-1]))
    report(figures, lines, options.json)


def built(folder: str, *overrides: str) -> Experiment:
    return Experiment.build(compose_config([f"method={METHOD}", "device=cpu", f"results={folder}", *overrides]))


def ours(folder: str, *overrides: str) -> float:
    """Accuracy on the test images."""
    experiment = built(folder, *overrides)
    experiment.train()
    return experiment.record(time.monotonic()).accuracy


class Pictures(Dataset):
    """Digits as PIL images and what makes tensors of them."""

    def __init__(self, positions, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        data = digits.read("digits")
        self.images = [Image.fromarray(data.pixels[place, :, :, 0]) for place in positions]
        self.labels = data.labels[positions]
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[place]), int(self.labels[place])


def plain(folder: str) -> float:
    """Accuracy on the test images."""
    experiment = built(folder)
    experiment.method.prepare(experiment.data, experiment.cache)
    protocol, data, info = experiment.protocol, experiment.data, experiment.backbone.info

    def loader(positions, **settings) -> DataLoader:
        return DataLoader(Pictures(positions, info.mean, info.std), protocol.batch_size, num_workers=2, **settings)

    training = loader(data.plain.images.index, shuffle=True, drop_last=True)
    side, done = Plain(METHOD, experiment.method, protocol, []), 0
    while done < protocol.updates:
        side.batches = list(training)[: protocol.updates - done]
        side.train(len(side.batches))
        done += len(side.batches)
    network = side.method.eval()
    scores = []
    with torch.no_grad():
        for part in (data.val, data.test):
            right = [
                (network(images).argmax(dim=1) == labels).sum().item() for images, labels in loader(part.images.index)
            ]
            scores.append(100 * sum(right) / len(part))
    return scores[-1]


def grid() -> None:
    """The command, in new folders."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"results={folder}/results", f"cache={folder}/cache"]
        command = [sys.executable, "run.py", "table=desk", "jobs=-1", *places]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    main()
