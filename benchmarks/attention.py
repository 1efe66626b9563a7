"""DELTA's filter importance: ours against zeroing one filter at a time and running the whole network.

Both sides measure every filter of the last convolution of every stage of a ResNet with random weights.
"""

import torch
from harness import alternate, compared, environment, exponent, parser, report, timed
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cotune_bench.backbones.torchvision import build, take_apart
from cotune_bench.methods.ablation import filter_importance

CLASSES = 200
TAPS = {
    "resnet18": ("layer1.1.conv2", "layer2.1.conv2", "layer3.1.conv2", "layer4.1.conv2"),
    "resnet50": ("layer1.2.conv3", "layer2.3.conv3", "layer3.5.conv3", "layer4.2.conv3"),
}


def main() -> None:
    arguments = parser(__doc__, rounds=2)
    arguments.add_argument("--model", choices=TAPS, default="resnet18", help="resnet50 takes hours at 224 pixels")
    arguments.add_argument("--pixels", type=int, default=32)
    arguments.add_argument("--images", type=int, default=4)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    trunk, head = take_apart(build(options.model))
    head = nn.Linear(head.in_features, CLASSES)
    images = torch.randn(max(options.images, 4), 3, options.pixels, options.pixels)
    labels = torch.randint(CLASSES, (len(images),))
    settle(trunk, images)
    few, truth = images[: options.images], labels[: options.images]
    figures: dict = {"environment": environment(options.threads, ("torch", "torchvision"))}
    lines = []
    for layers in (TAPS[options.model], TAPS[options.model][-1:]):
        found: dict[str, list[Tensor]] = {}
        sides = {
            "ours": lambda n=layers, f=found: f.update(ours=filter_importance(trunk, head, n, few, truth)),
            "plain": lambda n=layers, f=found: f.update(plain=naive(trunk, head, n, few, truth)),
        }
        seconds = alternate(sides, options.rounds)
        filters = sum(map(len, found["ours"]))
        loss = cross_entropy(head(trunk(few)), truth).item()
        off = max(float((a - b).abs().max()) for a, b in zip(found["ours"], found["plain"], strict=True)) / loss
        if off > 1e-6:
            raise SystemExit(f"{layers}: losses differ by {off:.1e} of the loss, more than 1e-6")
        figures[", ".join(layers)] = {"filters": filters, "seconds": seconds, "largest relative difference": off}
        lines += [
            f"{options.model}, {filters} filters of {', '.join(layers)}, {len(few)} images of {options.pixels} pixels"
        ]
        lines += [*compared(seconds, "ours"), f"losses differ by at most {off:.1e} of the loss"]
    grown = [len(images) // 4 * times for times in (1, 2, 4)]
    spent = [
        timed(lambda n=count: filter_importance(trunk, head, TAPS[options.model], images[:n], labels[:n]))
        for count in grown
    ]
    figures["growth"] = {"images": grown, "seconds": spent, "exponent": exponent(grown, spent)}
    told = ", ".join(f"{count}: {second:.2f} s" for count, second in zip(grown, spent, strict=True))
    report(figures, [*lines, f"ours over images {told}; exponent {exponent(grown, spent):.2f}"], options.json)


@torch.no_grad()
def settle(trunk: nn.Module, images: Tensor) -> None:
    """Gives batch normalisation the statistics of these images and leaves the network in evaluation mode."""
    trunk.train()
    for _ in range(20):
        trunk(images)
    trunk.eval()


@torch.no_grad()
def naive(trunk: nn.Module, head: nn.Module, layers: tuple[str, ...], images: Tensor, labels: Tensor) -> list[Tensor]:
    """One pass of the whole network for every filter."""
    intact = cross_entropy(head(trunk(images)), labels)
    found = []
    for layer in layers:
        weight = trunk.get_submodule(layer).get_parameter("weight")
        rises = torch.empty(len(weight))
        for number in range(len(weight)):
            kept = weight[number].clone()
            weight[number] = 0
            rises[number] = cross_entropy(head(trunk(images)), labels) - intact
            weight[number] = kept
        found.append(rises)
    return found


if __name__ == "__main__":
    main()
