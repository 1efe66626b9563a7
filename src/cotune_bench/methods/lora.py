"""LoRA: low-rank changes of frozen weights (Hu et al., ICLR 2022), of convolutions, too."""

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import require_at_least, require_positive
from cotune_bench.methods.finetune import FineTune
from cotune_bench.parallel import divided


def low_rank_weight(weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """``weight + scale * up @ down`` in the weight's shape (LoRA, eq. 3).

    Args:
        weight: (O, ...), of a linear layer or a convolution, whose further dimensions are seen as one of size I.
        down: (r, I).
        up: (O, r).
        scale: alpha / r.
    """
    return weight + scale * (up @ down).view_as(weight)


class LoRA(FineTune):
    """Fine-tuning of low-rank changes of the trunk's convolutions and linear layers, and of the head.

    Pre-trained parameters stay; batch statistics follow the target data. The network that is exported has the
    changes added to its weights.

    Args:
        rank: r, largest rank of the change of each layer.
        alpha: the change is multiplied by ``alpha / rank``.
    """

    compilable = False  # weights are replaced during a pass
    recomputable = False  # the second computation would see the weights without changes

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        rank: int = 8,
        alpha: float = 8.0,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_at_least(1, rank=rank)
        require_positive("alpha", [alpha])
        self.scale = alpha / rank
        self.trunk.requires_grad_(False)
        self.layers = [
            name for name, layer in self.trunk.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
        ]
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for name in self.layers:
            rows = self.trunk.get_submodule(name).get_parameter("weight").flatten(1)
            size = min(rank, *rows.shape)
            down = torch.empty(size, rows.shape[1])
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # as the released code: uniform with bound 1 / sqrt(I)
            self.down.append(down)
            self.up.append(torch.zeros(len(rows), size))

    def weights(self) -> dict[str, Tensor]:
        """The trunk's changed weights by name of the parameter."""
        names = (f"{name}.weight" for name in self.layers)
        factors = zip(names, self.down, self.up, strict=True)
        return {
            name: low_rank_weight(self.trunk.get_parameter(name), down, up, self.scale) for name, down, up in factors
        }

    def features(self, images: Tensor) -> Tensor:
        """Features (B, width) of the trunk with changed weights."""
        weights = self.weights()
        trunk = partial(functional_call, self.trunk, weights)
        return divided(partial(in_precision, self.precision, trunk), images)

    def plain(self) -> tuple[nn.Module, nn.Linear]:
        """A copy of the trunk with the changes added to its weights, and the head."""
        trunk = copy.deepcopy(self.trunk)
        trunk.load_state_dict({name: value.detach() for name, value in self.weights().items()}, strict=False)
        return trunk, self.head

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """None: they stay."""
        return []

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """Low-rank factors, which are new, and the head at ``lr``."""
        groups = super().param_groups(lr, backbone_ratio)
        return [*groups, {"name": "lora", "params": [*self.down, *self.up], "lr": lr}]
