"""Distillation: one network learns from labels and from the ensemble of those fine-tuned from single sources."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from cotune_bench.backbones.base import Backbone, Frozen
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.methods.base import Method, require_at_least, require_positive
from cotune_bench.methods.ensemble import Members, finished_networks
from cotune_bench.methods.lwf import distillation_loss
from cotune_bench.storage.cache import Cache


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(teacher / T) || softmax(logits / T))``, mean over a batch of logits (B, K) (Hinton et al.)."""
    return temperature**2 * distillation_loss(logits, teacher, temperature)


class Distill(Method):
    """Cross-entropy and distillation from the mean logits of an ensemble that stays as it is.

    Args:
        sources: further pre-trained networks, by name.
        parts: settings of the runs that trained the ensemble, in the order of the backbone and the sources.
        results: folder of their records and kept networks.
        weight: of the distillation.
        temperature: T, of both softmaxes.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        sources: Mapping[str, Backbone],
        parts: Sequence[str],
        results: str = "results",
        weight: float = 1.0,
        temperature: float = 4.0,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_at_least(0, weight=weight)
        require_positive("temperature", [temperature])
        self.parts, self.results = list(parts), Path(results)
        self.weight, self.temperature = weight, temperature
        self.teacher = Frozen(Members([copy.deepcopy(backbone), *sources.values()], self.task))

    def check(self, data: TargetData) -> None:
        """All runs of the ensemble are there, with their networks."""
        finished_networks(self.parts, self.results)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Read the networks of the ensemble."""
        members = self.teacher.get_submodule("module").children()
        for network, path in zip(members, finished_networks(self.parts, self.results), strict=True):
            network.load_state_dict(load_file(path))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce`` and ``kd``."""
        logits = self.predict(batch.inputs)
        with torch.no_grad():
            wanted = in_precision(self.precision, self.teacher, batch.inputs) / len(self.parts)
        kd = distillation(logits, wanted, self.temperature)
        return {"ce": self.task.loss(logits, batch.targets), "kd": self.weight * kd}
