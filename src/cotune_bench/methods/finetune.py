"""Fine-tuning: every weight starts at its pre-trained value and is trained; the baseline of all methods."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from cotune_bench.methods.base import Method


class FineTune(Method):
    """Cross-entropy on the target labels, nothing else."""

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``ce``."""
        return {"ce": cross_entropy(self.predict(images), labels)}
