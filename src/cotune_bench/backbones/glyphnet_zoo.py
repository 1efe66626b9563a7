"""The other tasks of the zoo of ``glyphnet``; ``scripts/train_glyphnet.py`` writes the shipped files."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cotune_bench.backbones.glyphnet import CLASSES, WIDTHS, load, trunk
from cotune_bench.backbones.glyphnet_training import Recipe, batches, kept, normalised, one_thread, optimise
from cotune_bench.backbones.glyphs import DEJAVU, prints
from cotune_bench.storage.cache import Arrays

#: Printed characters that are no class of the source or of a target.
MARKS = tuple("!?&%#@§¶†‡{}[]‽‰£¥₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₴₵₹₺☿♀♁♂♃♄♇♩♪♫♬♭♮↑↓↕↖↗↘↙↺↻⌘☹☺♠♡♣©®")
TURNS = 4
VIEWS = 2  # drawings of a print in a batch
TEMPERATURE = 0.5  # SimCLR's for small images
SEED = 20  # of no network of letters: random weights of one seed are alike, and would be a common ancestor


@dataclass(frozen=True)
class Prints:
    """Drawings of M printed characters.

    Attributes:
        images: float32 (M, P, 1, 8, 8), as the network takes them.
        characters, fonts: numbers int64 (M,).
    """

    images: Tensor
    characters: Tensor
    fonts: Tensor

    def batch(self, chosen: Tensor, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (2B, 1, 8, 8), characters and fonts (2B,) of these prints (B,) and their drawings (B, 2)."""
        images = self.images[chosen[:, None], views].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        twice = chosen.repeat_interleave(VIEWS)
        return images, self.characters[twice], self.fonts[twice]


Answer = Callable[[nn.Module, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Task:
    """What a network learns from drawings of printed characters.

    Attributes:
        answer: of the network, images (2B, 1, 8, 8) with the two of a print side by side, and their characters and
            fonts (2B,): logits and labels.
        head: from features to outputs.
        characters: that are printed.
        from_letters: whether training starts from the weights of ``letters``, else from random ones.
        recipe: its batches are prints, its classes, too.
    """

    answer: Answer
    head: Callable[[], nn.Module]
    characters: tuple[str, ...] = CLASSES
    from_letters: bool = True
    recipe: Recipe = field(default_factory=lambda: Recipe(per_class=36, held_out=VIEWS, batch_size=128, lr=0.02))


def characters(network: nn.Module, images: Tensor, labels: Tensor, _fonts: Tensor) -> tuple[Tensor, Tensor]:
    """Which character it is."""
    return network(images), labels


def fonts(network: nn.Module, images: Tensor, _characters: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which font the character is printed in."""
    return network(images), labels


def rotation(network: nn.Module, images: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    """By which quarter turn the image is rotated, of all four (Gidaris et al., 2018)."""
    turned = torch.cat([torch.rot90(images, turn, (2, 3)) for turn in range(TURNS)])
    return network(turned), torch.arange(TURNS).repeat_interleave(len(images))


def contrastive(network: nn.Module, images: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the other images is drawn from the same print."""
    return similarities(network(images), TEMPERATURE)


def similarities(projections: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits (2N, 2N), cosines over the temperature, and labels (2N,), the other view, of projections (2N, D).

    Their cross-entropy is NT-Xent where two views of an image stand side by side (SimCLR, Chen et al., 2020, eq. 1).
    """
    unit = normalize(projections, dim=1)
    number = torch.arange(len(unit))
    alone = torch.eye(len(unit), dtype=torch.bool)
    return (unit @ unit.T / temperature).masked_fill(alone, -torch.inf), number ^ 1


def projection() -> nn.Module:
    """SimCLR's head: one hidden layer."""
    return nn.Sequential(nn.Linear(WIDTHS[-1], WIDTHS[-1]), nn.ReLU(), nn.Linear(WIDTHS[-1], WIDTHS[-1]))


TASKS = {
    "marks": Task(characters, lambda: nn.Linear(WIDTHS[-1], len(MARKS)), MARKS),
    "fonts": Task(fonts, lambda: nn.Linear(WIDTHS[-1], len(DEJAVU))),
    "rotation": Task(
        rotation, lambda: nn.Linear(WIDTHS[-1], TURNS), recipe=Recipe(36, VIEWS, batch_size=128 // TURNS, lr=0.02)
    ),
    "contrastive": Task(contrastive, projection, from_letters=False, recipe=Recipe(36, VIEWS, batch_size=128)),
}


def pretrain_on(name: str) -> Arrays:
    """Weights of the trunk in half precision, and held-out ``accuracy`` beside them.

    Takes about a minute on one core.
    """
    task = TASKS[name]
    print(f"glyphnet: drawing glyphs and training source network {name} on them", file=sys.stderr)
    drawings = draw(task, task.recipe.per_class + task.recipe.held_out)
    seen, held_out = (
        Prints(images, drawings.characters, drawings.fonts)
        for images in drawings.images.split([task.recipe.per_class, task.recipe.held_out], dim=1)
    )
    network, _ = learn(task, seen, task.recipe)
    network.eval()
    right, size = [], len(held_out.images)
    with one_thread(), torch.no_grad():
        for batch in batches(size, task.recipe.batch_size, size // task.recipe.batch_size, SEED):
            logits, labels = task.answer(network, *held_out.batch(batch, torch.arange(VIEWS).expand(len(batch), -1)))
            right.append(logits.argmax(dim=1) == labels)
    accuracy = torch.cat(right).double().mean().item()
    print(f"glyphnet: {accuracy:.1%} of held-out answers right", file=sys.stderr)
    return {**kept(network.get_submodule("trunk")), "accuracy": np.array(accuracy)}


def draw(task: Task, per_print: int) -> Prints:
    """So many drawings of each of a task's characters in each font."""
    pixels, characters, fonts = prints(task.characters, DEJAVU, per_print, SEED)
    images = normalised(pixels.reshape(-1, *pixels.shape[2:])).unflatten(0, pixels.shape[:2])
    return Prints(images, torch.from_numpy(characters), torch.from_numpy(fonts))


def learn(task: Task, drawings: Prints, recipe: Recipe) -> tuple[nn.Module, list[float]]:
    """The trained network, trunk and head, and the loss of every update."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = nn.Sequential(OrderedDict(trunk=trunk(), head=task.head()))
    if task.from_letters:
        letters = load("glyphnet", Path(), weights="letters", seed=0)
        network.get_submodule("trunk").load_state_dict(letters.trunk.state_dict())
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    generator = torch.Generator().manual_seed(SEED)

    def answer(batch: Tensor) -> tuple[Tensor, Tensor]:
        count = drawings.images.shape[1]
        first = torch.randint(count, (len(batch),), generator=generator)
        second = (first + torch.randint(1, count, (len(batch),), generator=generator)) % count  # another one
        return task.answer(network, *drawings.batch(batch, torch.stack([first, second], dim=1)))

    with one_thread():
        return network, optimise(network, answer, len(drawings.images), recipe, SEED)
