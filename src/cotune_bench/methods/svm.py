"""Kernel SVM on pixels: what the images say without any network."""

from typing import Any

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor

from cotune_bench.data.target import TargetData, Views
from cotune_bench.methods.linear_probe import PenaltyGrid
from cotune_bench.storage.cache import Cache


class SVM(PenaltyGrid):
    """Support vector machine with the RBF kernel exp(-gamma |x - x'|^2), one against one (scikit-learn's ``SVC``).

    It sees the crop's pixels, normalised as for the backbone, and gamma is 1 / (number of pixels * their variance),
    so that a common scale of all pixels changes nothing. Training images are plain, whatever the protocol's
    augmentation. The network takes no part and none is kept. Among values of C with equal validation accuracy, the
    smallest is used.
    """

    problem: dict[str, Any] | None = None

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Choose C and solve."""
        problem = {"pixels": pixels(data.plain), "labels": torch.from_numpy(data.plain.labels)}

        def right(C: float) -> int:
            self.set_extra_state({**problem, "C": C})
            return int((self._decide(pixels(data.val)).argmax(axis=1) == data.val.labels).sum())

        C = max(sorted(self.grid), key=right) if len(data.val) else self.without_validation
        self.set_extra_state({**problem, "C": C})

    def get_extra_state(self) -> dict[str, Any]:
        """Part of the state dict: training images (n, D), their labels (n,) and C, which define the machine."""
        return self.problem or {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Solve the problem of a state dict again."""
        self.problem = state
        if state:
            self.machine = SVC(C=state["C"], gamma="scale").fit(state["pixels"].numpy(), state["labels"].numpy())

    def predict(self, images: Tensor) -> Tensor:
        """Decision values (B, K), the largest of which is the class: votes of the pairs; they are no logits."""
        return torch.from_numpy(self._decide(images.flatten(1).cpu())).float().to(images.device)

    def _decide(self, rows: Tensor) -> np.ndarray:
        values = self.machine.decision_function(rows.numpy())
        return np.stack([-values, values], axis=1) if values.ndim == 1 else values


def pixels(part: Views) -> Tensor:
    """Normalised pixels (n, D) of each image's first view, on the host."""
    return torch.cat([views[:, 0].flatten(1).cpu() for views in part])
