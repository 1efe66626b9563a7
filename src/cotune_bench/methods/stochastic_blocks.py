"""Stochastic fine-tuning: half of the residual blocks, drawn once for a run, and the head train."""

from collections.abc import Sequence

import torch

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.methods.layer_subset import LayerSubset, require_blocks


def random_half(blocks: Sequence[str]) -> list[str]:
    """Half of the blocks, rounded down but at least one, in their order; drawn from torch's generator."""
    drawn = set(torch.randperm(len(blocks))[: max(len(blocks) // 2, 1)].tolist())
    return [block for place, block in enumerate(blocks) if place in drawn]


class StochasticBlocks(LayerSubset):
    """Cross-entropy; blocks that were not drawn, and the stem, are frozen."""

    def __init__(
        self, backbone: Backbone, num_classes: int | Classification, *, head_init: str | None = None
    ) -> None:
        drawn = random_half(require_blocks(backbone, "stochastic_blocks"))
        super().__init__(backbone, num_classes, drawn, head_init=head_init)

    def artifacts(self) -> dict[str, str]:
        """The blocks that train."""
        return {"trained_blocks.txt": "".join(f"{name}\n" for name in self.trained)}
