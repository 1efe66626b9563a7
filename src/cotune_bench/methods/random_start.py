"""Random start: the pre-trained weights are thrown away; the difference to fine-tuning is what transfer is worth."""

import torch
from torch import nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.finetune import FineTune


class RandomStart(FineTune):
    """Fine-tuning's loss on a trunk of random weights, all of which train at the head's learning rate."""

    def __init__(
        self, backbone: Backbone, num_classes: int | Classification, *, head_init: str | None = None
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        reset(self.trunk)

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """Trunk and head at ``lr``: nothing in the trunk is worth a smaller step."""
        return super().param_groups(lr, 1.0)


@torch.no_grad()
def reset(trunk: nn.Module) -> None:
    """Draw a trunk's weights from torch's generator: He's normal for convolutions, else the layer's own rule.

    Raises:
        UserError: a layer holds weights and has no rule.
    """
    for name, layer in trunk.named_modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif callable(rule := getattr(layer, "reset_parameters", None)):
            rule()
        elif any(True for _ in layer.parameters(recurse=False)):
            raise UserError(
                f"method random_start cannot reset layer {name} ({type(layer).__name__}): choose another backbone"
            )
