"""DELTA's filter importance: ours against zeroing one filter at a time and running the whole network.

Ours measures every filter of the last convolution of every stage of a ResNet with random weights, plain only
`--filters` of each stage: all of its passes cost the same, so its seconds are multiplied up to all filters.
"""

import math

import torch
from harness import alternate, compared, environment, exponent, parser, report, row, timed
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cotune_bench.backbones.torchvision import build, take_apart
from cotune_bench.methods.delta_ablation import filter_importance

CLASSES = 200
TAPS = {
    "resnet18": ("layer1.1.conv2", "layer2.1.conv2", "layer3.1.conv2", "layer4.1.conv2"),
    "resnet50": ("layer1.2.conv3", "layer2.3.conv3", "layer3.5.conv3", "layer4.2.conv3"),
}
SHORT = {"model": "resnet18", "pixels": 32, "images": 4, "filters": 32}
FULL = {"model": "resnet50", "pixels": 224, "images": 2, "filters": 4}
BOUND = 1e-6  # of the loss


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--full", action="store_true", help="ResNet-50 at 224 pixels: many minutes")
    arguments.add_argument("--model", choices=TAPS)
    arguments.add_argument("--pixels", type=int)
    arguments.add_argument("--images", type=int)
    arguments.add_argument("--filters", type=int, help="of every stage that plain measures")
    arguments.set_defaults(**FULL if arguments.parse_args().full else SHORT)
    options = arguments.parse_args()
    model, pixels, images, filters = options.model, options.pixels, options.images, options.filters
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    trunk, head = take_apart(build(model))
    head = nn.Linear(head.in_features, CLASSES)
    pictures = torch.randn(max(images, 4), 3, pixels, pixels)
    labels = torch.randint(CLASSES, (len(pictures),))
    settle(trunk, pictures)
    few, truth = pictures[:images], labels[:images]
    figures: dict = {"environment": environment(options.threads, ("torch", "torchvision")), "rows": []}
    lines = []
    for title, layers in {"every stage": TAPS[model], "the last stage": TAPS[model][-1:]}.items():
        seconds, off = both((trunk, head, layers, few, truth), filters, options.rounds)
        what = f"DELTA's filters of {title}, {model}, {images} images of {pixels} pixels, plain extrapolated"
        figures["rows"].append(row(what, seconds))
        figures[title] = {"seconds": seconds, "largest difference of the loss": off}
        told = f"{what} from {filters} filters of a stage, which agree to {off:.1e} of the loss"
        lines += [told, *compared(seconds, "ours")]
    grown = [1, 2, 4]
    late = TAPS[model][-2:]  # whose passes are short
    spent = [timed(lambda n=n: filter_importance(trunk, head, late, pictures[:n], labels[:n])) for n in grown]
    figures["growth"] = {"images": grown, "seconds": spent, "exponent": exponent(grown, spent)}
    told = ", ".join(f"{count}: {second:.2f} s" for count, second in zip(grown, spent, strict=True))
    lines.append(f"ours, the last two stages over images {told}; exponent {exponent(grown, spent):.2f}")
    report(figures, lines, options.json)


def both(problem: tuple, filters: int, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of both sides for all filters, and how far their losses are apart, in parts of the loss."""
    trunk, head, layers, images, labels = problem
    found: dict[str, list] = {}
    sides = {
        "ours": lambda: found.update(ours=filter_importance(trunk, head, layers, images, labels)),
        "plain": lambda: found.update(plain=naive(trunk, head, layers, images, labels, filters)),
    }
    seconds = alternate(sides, rounds)
    share = sum(map(len, found["ours"])) / sum(len(rises) for rises, _ in found["plain"])
    seconds["plain"] = [share * second for second in seconds["plain"]]
    loss = cross_entropy(head(trunk(images)), labels).item()
    pairs = zip(found["ours"], found["plain"], strict=True)
    off = max(float((rises[list(which)] - own).abs().max()) for rises, (own, which) in pairs) / loss
    if not off <= BOUND:
        raise SystemExit(f"{layers}: losses differ by {off:.1e} of the loss, more than {BOUND}")
    return seconds, off


@torch.no_grad()
def settle(trunk: nn.Module, images: Tensor) -> None:
    """Gives batch normalisation the statistics of these images and leaves the network in evaluation mode."""
    trunk.train()
    for _ in range(20):
        trunk(images)
    trunk.eval()


@torch.no_grad()
def naive(
    trunk: nn.Module, head: nn.Module, layers: tuple[str, ...], images: Tensor, labels: Tensor, filters: int
) -> list[tuple[Tensor, range]]:
    """One pass of the whole network for each of about so many filters of every layer, which are told, too."""
    intact = cross_entropy(head(trunk(images)), labels)
    found = []
    for layer in layers:
        weight = trunk.get_submodule(layer).get_parameter("weight")
        which = range(0, len(weight), math.ceil(len(weight) / filters))
        rises = torch.empty(len(which))
        for place, number in enumerate(which):
            kept = weight[number].clone()
            weight[number] = 0
            rises[place] = cross_entropy(head(trunk(images)), labels) - intact
            weight[number] = kept
        found.append((rises, which))
    return found


if __name__ == "__main__":
    main()
