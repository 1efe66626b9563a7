"""A small residual network for 8x8 images, trained on the glyphs when it is first asked for."""

import hashlib
import io
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from cotune_bench.backbones.base import Backbone, SourceInfo
from cotune_bench.cache import digest, write_atomically
from cotune_bench.data.glyphs import CLASSES, glyphs
from cotune_bench.errors import UserError

VERSION = 1  # raise it with every change of the glyphs or of this training: older weights are then left alone
MEAN, STD = 0.31, 0.37  # of glyph pixels scaled to [0, 1]; a test compares
HELD_OUT_PER_CLASS = 20
WARM_UP = 0.15  # part of the updates in which the learning rate rises


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., 2016), with torchvision's names."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = convolution(outputs, outputs, 3, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, outputs, H / stride, W / stride) of maps (B, inputs, H, W)."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = self.relu(self.bn1(self.conv1(maps)))
        return self.relu(self.bn2(self.conv2(maps)) + shortcut)


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    """A convolution that keeps the size but for its stride, without bias, with He's initial weights."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def trunk(widths: Sequence[int]) -> nn.Sequential:
    """Images (B, 1, 8, 8) to features (B, widths[-1]): a 3x3 stem, then one block a stage, each half as large."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=convolution(1, widths[0], 3, 1), bn1=nn.BatchNorm2d(widths[0]), relu=nn.ReLU(inplace=True)
    )
    for stage, (inputs, outputs) in enumerate(zip((widths[0], *widths), widths, strict=False), start=1):
        layers[f"layer{stage}"] = nn.Sequential(BasicBlock(inputs, outputs, stride=1 if stage == 1 else 2))
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)


class Network(nn.Module):
    """Trunk and source head with random weights that depend on the seed alone."""

    def __init__(self, widths: Sequence[int], seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = trunk(widths)
            self.source_head = nn.Linear(widths[-1], len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Source logits (B, S) of normalised images (B, 1, 8, 8)."""
        return self.source_head(self.trunk(images))


def load(
    name: str,
    cache: Path,
    *,
    weights: str,
    widths: Sequence[int],
    per_class: int,
    updates: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    seed: int,
    threads: int,
) -> Backbone:
    """The network with weights ``glyphs`` (from the cache folder, trained if they are not there) or ``random``.

    Raises:
        UserError: unknown weights, widths that are no multiples of 16, a file in the cache that was changed.
    """
    widths = tuple(int(width) for width in widths)
    for width in widths:
        if width <= 0 or width % 16:  # fewer channels in a strided 1x1 convolution: oneDNN bug 6035
            raise UserError(f"width {width} of backbone {name} makes oneDNN corrupt memory: give multiples of 16")
    model = Network(widths, seed)
    temperature = 1.0
    if weights == "glyphs":
        recipe = {"widths": widths, "per_class": per_class, "updates": updates, "batch_size": batch_size, "lr": lr}
        recipe |= {"weight_decay": weight_decay, "seed": seed, "threads": threads}
        key = digest({"version": VERSION, "classes": CLASSES, **recipe})
        path = Path(cache).expanduser() / "glyphnet" / f"{key[:24]}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    save(path, *pretrain(**recipe))
        temperature = restore(path, model)
    elif weights != "random":
        raise UserError(f"backbone {name} has no weights {weights}: choose glyphs or random")
    stages = range(1, len(widths) + 1)
    return Backbone(
        name,
        model.trunk,
        model.source_head,
        SourceInfo(weights, checksum(model.state_dict()), CLASSES, (MEAN,), (STD,), temperature),
        blocks=[f"layer{stage}.0" for stage in stages],
        taps=[f"layer{stage}.0.conv2" for stage in stages],
    )


def pretrain(
    widths: Sequence[int],
    per_class: int,
    updates: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    seed: int,
    threads: int,
) -> tuple[Network, float]:
    """The network trained on ``per_class`` glyphs of each class by Nesterov SGD, and its temperature on others."""
    print("glyphnet: drawing glyphs and training on them, once (about half a minute)", file=sys.stderr)
    pixels, classes, _ = glyphs(per_class + HELD_OUT_PER_CLASS, seed)
    held_out = np.arange(len(classes)) % (per_class + HELD_OUT_PER_CLASS) >= per_class
    images, labels = normalised(pixels[~held_out]), torch.from_numpy(classes[~held_out])
    model = Network(widths, seed).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr, 0.9, weight_decay=weight_decay, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, updates, pct_start=WARM_UP)
    with torch_threads(threads):
        for batch in track(
            batches(len(labels), batch_size, updates, seed),
            "glyphnet",
            updates,
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        ):
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            logits = model(normalised(pixels[held_out])).double().numpy()
    accuracy = np.mean(logits.argmax(1) == classes[held_out])
    print(f"glyphnet: {accuracy:.1%} of held-out glyphs right", file=sys.stderr)
    from cotune_bench.relationship import fit_temperature  # scipy takes half a second to import

    return model, fit_temperature(logits, classes[held_out])


def normalised(pixels: np.ndarray) -> Tensor:
    """Images uint8 (N, H, W, 1) as the network takes them: float32 (N, 1, H, W)."""
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    return images.contiguous(memory_format=torch.channels_last)


def batches(size: int, batch_size: int, updates: int, seed: int) -> Iterator[Tensor]:
    """Index batches: one shuffled pass after another, without a pass's incomplete last batch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(size, generator=generator).split(batch_size):
            if updates == 0:
                return
            if len(batch) == batch_size:
                yield batch
                updates -= 1


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """This many threads inside the context: sums depend on their number in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def checksum(state: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of a state dict: names and values, in order."""
    sha = hashlib.sha256()
    for name, value in state.items():
        sha.update(name.encode())
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()


def save(path: Path, model: Network, temperature: float) -> None:
    """Weights, temperature and checksum as one file, whole or not at all."""
    state = model.state_dict()
    buffer = io.BytesIO()
    arrays = {f"state.{name}": value.numpy() for name, value in state.items()}
    np.savez(buffer, **arrays, temperature=temperature, sha256=checksum(state))
    write_atomically(path, buffer.getvalue())


def restore(path: Path, model: Network) -> float:
    """Loads the weights into the model and gives the temperature; UserError if the file is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            state = {name: torch.from_numpy(file[f"state.{name}"]) for name in model.state_dict()}
            temperature, written = float(file["temperature"]), str(file["sha256"])
        model.load_state_dict(state)
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, RuntimeError):
        written = ""
    if written != checksum(model.state_dict()):
        raise UserError(f"{path} is damaged: delete it, the next run trains it again in about a minute")
    return temperature
