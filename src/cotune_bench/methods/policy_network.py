"""The small residual network that decides, for each image, which blocks are fine-tuned."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cotune_bench.backbones.glyphnet import BasicBlock, convolution

SMALL = 32  # pixels up to which the stem does not reduce an image


class PolicyNetwork(nn.Module):
    """A narrow ResNet with random weights, from images (B, C, H, W) to logits (B, decisions, 2); index 1 fine-tunes.

    Args:
        channels: C.
        decisions: number of blocks to decide on.
        size: larger images are reduced to this many pixels.
        widths: channels of each stage; a stage after the first halves the maps.
        blocks: residual blocks of a stage.
    """

    def __init__(self, channels: int, decisions: int, *, size: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.size, self.decisions = size, decisions
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv1"] = convolution(channels, widths[0], 3 if size <= SMALL else 7, 1 if size <= SMALL else 2)
        layers["bn1"], layers["relu"] = nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        inputs = widths[0]
        for stage, outputs in enumerate(widths, start=1):
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layers[f"layer{stage}_{block}"] = BasicBlock(inputs, outputs, stride)
                inputs = outputs
        layers["avgpool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        layers["logits"] = nn.Linear(inputs, 2 * decisions)
        self.layers = nn.Sequential(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, decisions, 2)."""
        if images.shape[-1] > self.size:
            images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return self.layers(images).view(len(images), self.decisions, 2)


def straight_through_gumbel(logits: Tensor, uniform: Tensor, tau: float) -> Tensor:
    """One-hot draws, in the last dimension, from softmax(logits); their gradient is that of a soft draw.

    The soft draw is ``softmax((logits + G) / tau)`` with ``G = -log(-log(uniform + 1e-20) + 1e-20)`` (Jang et al.,
    2017); the draw is its largest entry.

    Args:
        logits: (..., options).
        uniform: numbers in [0, 1) of the same shape.
        tau: temperature above 0; it scales the gradient and does not change the draw.
    """
    noise = -torch.log(-torch.log(uniform + 1e-20) + 1e-20)
    soft = ((logits + noise) / tau).softmax(dim=-1)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(dim=-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())  # exactly 0 is added
