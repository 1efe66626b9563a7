"""L2-SP: weights are pulled towards their pre-trained values, not towards zero (Li et al., ICML 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import Method, Penalty, require_at_least, require_choice


def starting_point_penalty(parameters: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """``1/2 * sum ||parameter - start||^2`` over pairs of tensors of equal shapes (L2-SP)."""
    distances = [(value - first).square().sum() for value, first in zip(parameters, start, strict=True)]
    return 0.5 * torch.stack(distances).sum()


class L2SP(Method):
    """Fine-tuning with the starting point as reference, in place of the optimiser's weight decay.

    Args:
        alpha: weight of the distance to the pre-trained weights.
        beta: weight of the plain L2 penalty on the new head.
        scope: ``all`` weights of the backbone, batch normalisation included, or ``conv_only`` as in the
            authors' first mode. Running statistics are never penalised.
    """

    replaces_weight_decay = True

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        alpha: float = 0.01,
        beta: float = 0.01,
        scope: str = "all",
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_choice("scope", scope, ("all", "conv_only"))
        require_at_least(0, alpha=alpha, beta=beta)
        self.alpha = alpha
        self.beta = beta
        kinds = nn.Conv2d if scope == "conv_only" else nn.Module
        self._shared = [
            parameter
            for module in self.trunk.modules()
            if isinstance(module, kinds)
            for parameter in module.parameters(recurse=False)
        ]
        for number, parameter in enumerate(self._shared):
            self.register_buffer(f"start{number}", parameter.detach().clone(), persistent=False)

    @property
    def start(self) -> list[Tensor]:
        """Pre-trained values of the penalised parameters."""
        return [self.get_buffer(f"start{number}") for number in range(len(self._shared))]

    def penalties(self) -> dict[str, Penalty]:
        """``sp`` (distance to the start) and ``head`` (plain L2 of the head)."""
        return {
            "sp": Penalty(self._shared, self.start, self.alpha),
            "head": Penalty(list(self.head.parameters()), None, self.beta),
        }
