"""What methods share that train some layers of the trunk; the others stay as pre-trained, batch statistics too."""

from collections.abc import Sequence

from torch import nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method


def require_blocks(backbone: Backbone, method: str) -> tuple[str, ...]:
    """Names of a backbone's residual blocks, first to last; UserError if it names none."""
    if not backbone.blocks:
        raise UserError(
            f"backbone {backbone.name} names no residual blocks, which method={method} needs: use glyphnet or ResNets"
        )
    return backbone.blocks


def require_count(least: int, blocks: Sequence[str], backbone: Backbone, **setting: int) -> None:
    """UserError unless a setting counts at least so many of a backbone's blocks, and not more than there are."""
    for name, value in setting.items():
        if not least <= value <= len(blocks):
            raise UserError(
                f"method.{name}={value} cannot be used: give {least} to {len(blocks)}, the blocks of {backbone.name}"
            )


class LayerSubset(Method):
    """Cross-entropy; all of the trunk but the named layers is frozen, batch statistics too.

    Args:
        trained: names of the layers of the trunk that train, beside the head.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        trained: Sequence[str],
        *,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        self.trained = tuple(trained)
        self.trunk.requires_grad_(False)
        for name in self.trained:
            self.trunk.get_submodule(name).requires_grad_(True)

    def train(self, mode: bool = True) -> "LayerSubset":
        """Frozen layers stay in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        for name in self.trained:
            self.trunk.get_submodule(name).train(mode)
        return self

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Those of the layers that train."""
        return [parameter for parameter in self.trunk.parameters() if parameter.requires_grad]
