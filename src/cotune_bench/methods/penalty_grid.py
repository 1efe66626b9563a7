"""What methods share that solve for a head: a penalty C, chosen from a grid on validation images."""

from collections.abc import Sequence

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import Method, require_positive


class PenaltyGrid(Method):
    """A method that ``prepare`` solves for values of C; where that is all, the network is not trained.

    Args:
        grid: values of C, the inverse strength of the penalty; the one with the best validation accuracy is used.
        without_validation: C where the protocol holds out no validation images.
    """

    solved = True

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        grid: Sequence[float],
        without_validation: float,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_positive("grid", grid)
        require_positive("without_validation", [without_validation])
        self.requires_grad_(not self.solved)
        self.grid = tuple(grid)
        self.without_validation = without_validation
