"""How the source networks of ``glyphnet`` were trained; ``scripts/train_glyphnet.py`` writes the shipped files."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from cotune_bench.backbones.glyphnet import CLASSES, MEAN, STD, Network
from cotune_bench.backbones.glyphs import DEJAVU, glyphs
from cotune_bench.relationship import fit_temperature
from cotune_bench.storage.cache import Arrays


@dataclass(frozen=True)
class Recipe:
    """Nesterov SGD with one cycle of the learning rate (Smith and Topin, 2019) on freshly drawn glyphs.

    Attributes:
        per_class: drawn glyphs of each class; ``held_out`` more of each give accuracy and temperature.
        warm_up: share of the updates in which the learning rate rises to ``lr``.
    """

    per_class: int = 400
    held_out: int = 20
    updates: int = 1000
    batch_size: int = 256
    lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.15


RECIPE = Recipe()


def pretrain(seed: int, recipe: Recipe = RECIPE, *, depth: int = 1) -> Arrays:
    """Weights of a network in half precision; ``temperature`` and held-out ``accuracy`` beside them.

    Takes about a minute on one core.
    """
    print(f"glyphnet: drawing glyphs and training source network {seed} on them", file=sys.stderr)
    pixels, classes = glyphs(CLASSES, DEJAVU, recipe.per_class + recipe.held_out, seed)
    held_out = np.arange(len(classes)) % (recipe.per_class + recipe.held_out) >= recipe.per_class
    images, labels = normalised(pixels[~held_out]), torch.from_numpy(classes[~held_out])
    model = Network(seed, depth).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with one_thread():
        optimise(model, lambda batch: (model(images[batch]), labels[batch]), len(labels), recipe, seed)
        model.eval()
        with torch.no_grad():
            logits = model(normalised(pixels[held_out])).double().numpy()
    accuracy = float(np.mean(logits.argmax(1) == classes[held_out]))
    print(f"glyphnet: {accuracy:.1%} of held-out glyphs right", file=sys.stderr)
    facts = {"temperature": fit_temperature(logits, classes[held_out]), "accuracy": accuracy}
    return {**kept(model), **{name: np.array(fact) for name, fact in facts.items()}}


def optimise(
    model: nn.Module,
    answer: Callable[[Tensor], tuple[Tensor, Tensor]],
    size: int,
    recipe: Recipe,
    seed: int,
) -> list[float]:
    """Minimise the cross-entropy of the logits and labels that ``answer`` gives for indexes (B,) below ``size``.

    Returns the loss of every update.
    """
    optimiser = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, recipe.updates, pct_start=recipe.warm_up)
    losses = []
    for batch in track(
        batches(size, recipe.batch_size, recipe.updates, seed),
        "glyphnet",
        recipe.updates,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ):
        loss = functional.cross_entropy(*answer(batch))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def kept(model: nn.Module) -> Arrays:
    """The state of a network, floating-point numbers in half precision."""
    state = model.state_dict().items()
    return {name: (value.half() if value.is_floating_point() else value).numpy() for name, value in state}


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
def one_thread() -> Iterator[None]:
    """One thread inside the context: sums depend on their number in the last bits, and small maps gain nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
