"""Random policy: the last blocks are always fine-tuned, the others by a coin for every image."""

import torch
from torch import Tensor

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.methods.layer_subset import require_blocks, require_count
from cotune_bench.methods.routing import Routed, uniform_of


class RandomPolicy(Routed):
    """SpotTune's network without its policy network.

    A coin is fair; at test it is a function of the image.

    Args:
        always: number of last blocks that are always fine-tuned.
        frozen_bn: ``eval`` or ``as_released``, see :class:`Routed`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        always: int = 3,
        frozen_bn: str = "eval",
        head_init: str | None = None,
    ) -> None:
        blocks = require_blocks(backbone, "random_policy")
        require_count(0, blocks, backbone, always=always)
        by_coin = blocks[: len(blocks) - always]
        super().__init__(backbone, num_classes, by_coin, frozen_bn=frozen_bn, head_init=head_init)

    def policy(self, images: Tensor) -> Tensor:
        """(B, number of routed blocks) coins."""
        count = len(self.routed_blocks)
        uniform = torch.rand(len(images), count, device=images.device) if self.training else uniform_of(images, count)
        return (uniform < 0.5).float()
