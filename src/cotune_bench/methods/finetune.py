"""Fine-tuning: every weight starts at its pre-trained value and is trained; the baseline of all methods."""

from torch import Tensor

from cotune_bench.data.task import Batch
from cotune_bench.methods.base import Method


class FineTune(Method):
    """Cross-entropy on the target labels, nothing else."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce``."""
        return {"ce": self.task.loss(self.predict(batch.inputs), batch.targets)}
