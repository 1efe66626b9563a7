"""LP-FT: a linear probe first, then fine-tuning from its head (Kumar et al., ICLR 2022)."""

from collections.abc import Sequence

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import require_positive
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.linear_probe import solve_head
from cotune_bench.storage.cache import Cache


class LPFT(FineTune):
    """Fine-tuning from the head of the linear probe, in place of a random one.

    Args:
        grid: values of C of the probe, the inverse strength of its penalty; validation images choose.
        without_validation: C where the protocol holds out no validation images.
    """

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
        self.grid = tuple(grid)
        self.without_validation = without_validation

    def preparation(self, images: int) -> float:
        """One pass of each image."""
        return float(images)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Solve the probe and write it into the head."""
        solve_head(self, data, cache, self.grid, self.without_validation)
