"""What methods share that train some parameters of the trunk and freeze the others; batch statistics move."""

from collections.abc import Iterable

from torch import nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import require_positive
from cotune_bench.methods.finetune import FineTune


class ParameterSubset(FineTune):
    """Fine-tuning of the head and of the trunk's :meth:`chosen` parameters; batch statistics follow the target data.

    Args:
        lr_scale: factor on the learning rate of pre-trained parameters.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        lr_scale: float = 1.0,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_positive("lr_scale", [lr_scale])
        self.lr_scale = lr_scale
        self.trunk.requires_grad_(False)
        self._trained = list(self.chosen(self.trunk))
        if not self._trained:
            raise UserError(
                f"backbone {backbone.name} has no parameters that this method trains: choose another backbone"
            )
        for parameter in self._trained:
            parameter.requires_grad_(True)

    @staticmethod
    def chosen(trunk: nn.Module) -> Iterable[nn.Parameter]:
        """The trunk's parameters that are trained."""
        raise NotImplementedError

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The chosen ones."""
        return self._trained

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """Chosen parameters at ``lr * backbone_ratio * lr_scale``, the head at ``lr``."""
        return super().param_groups(lr, backbone_ratio * self.lr_scale)
