"""Progressive networks: a new column that reads the maps of a frozen one (Rusu et al., 2016)."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone, Frozen, evaluating, tap
from cotune_bench.backbones.precision import in_precision
from cotune_bench.backbones.trunk import leaves
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import Method, require_choice
from cotune_bench.methods.layer_subset import require_blocks
from cotune_bench.methods.random_start import reset
from cotune_bench.parallel import divided


def lateral(channels: int) -> nn.Conv2d:
    """An adapter: a 1x1 convolution from the maps of two columns, which begins as a copy of the first's."""
    layer = nn.Conv2d(2 * channels, channels, 1)
    nn.init.zeros_(layer.weight)
    nn.init.eye_(layer.weight.data[:, :channels, 0, 0])
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer


def stage_channels(backbone: Backbone, blocks: Sequence[str]) -> dict[str, int]:
    """Channels of the maps after the last of these blocks in each stage, by its name."""
    ends = [list(group)[-1] for _, group in groupby(blocks, key=lambda name: name.rpartition(".")[0])]
    with evaluating(backbone.trunk), tap(backbone.trunk, ends) as maps:
        backbone.trunk(torch.zeros(1, len(backbone.info.mean), 64, 64))
    return {name: maps[name].shape[1] for name in ends}


class Progressive(Method):
    """Cross-entropy of a column that is trained beside the pre-trained one.

    After the last block of each stage, an adapter mixes the maps of both columns; a ReLU follows.

    Args:
        start: weights of the new column, ``pretrained`` or ``random``.
    """

    compilable = False  # hooks on the frozen column come and go with every update
    recomputable = False  # it runs the layers of the trunk itself

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        start: str = "pretrained",
        head_init: str | None = None,
    ) -> None:
        blocks = require_blocks(backbone, "progressive")
        require_choice("start", start, ("pretrained", "random"))
        super().__init__(backbone, num_classes, head_init=head_init)
        self.source = Frozen(self.trunk, persistent=True)
        self.start = start
        if start == "random":
            reset(self.trunk)
        stages = stage_channels(backbone, blocks)
        self.stages = list(stages)
        self.adapters = nn.ModuleList(map(lateral, stages.values()))

    def features(self, images: Tensor) -> Tensor:
        """Features (B, width) in float32."""

        def through(maps: Tensor) -> Tensor:
            with torch.no_grad(), tap(self.source.module, self.stages) as source:
                self.source(maps)
            for name, layer in leaves(self.trunk):
                maps = layer(maps)
                if name in source:
                    adapter = self.adapters[self.stages.index(name)]
                    maps = adapter(torch.cat([maps, source[name]], dim=1)).relu()
            return maps

        return divided(partial(in_precision, self.precision, through), images)

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """The new column, at the head's rate if it starts at random; ``head``; ``adapters`` at the head's rate."""
        ratio = 1.0 if self.start == "random" else backbone_ratio
        adapters = {"name": "adapters", "params": list(self.adapters.parameters()), "lr": lr}
        return [*super().param_groups(lr, ratio), adapters]
