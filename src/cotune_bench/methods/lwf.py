"""LwF: Learning without Forgetting, the source head keeps its answers on target images (Li, Hoiem, ECCV 2016)."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from cotune_bench.backbones.base import Backbone, Frozen
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method, require_at_least, require_choice, require_positive
from cotune_bench.methods.source_features import source_features
from cotune_bench.storage.cache import Cache


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over the batch of KL(softmax(teacher_logits / T) || softmax(logits / T)), for (B, S) logits.

    There is no factor T^2 (TLlib's form of Hinton et al., 2015): the gradient falls with T.
    """
    student, teacher = (log_softmax(values / temperature, dim=1) for values in (logits, teacher_logits))
    return kl_div(student, teacher, reduction="batchmean", log_target=True)


class LwF(Method):
    """Cross-entropy plus distillation of the pre-trained network's source logits through the frozen source head.

    Args:
        weight: of the distillation loss.
        temperature: of its two softmaxes.
        teacher_view: ``plain`` computes teacher logits once, on the centre view of each training image; ``train``
            computes them in every update, on the augmented view that is trained on.
    """

    teacher: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        weight: float = 4.0,
        temperature: float = 3.0,
        teacher_view: str = "plain",
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_at_least(0, weight=weight)
        require_positive("temperature", [temperature])
        require_choice("teacher_view", teacher_view, ("plain", "train"))
        self.weight = weight
        self.temperature = temperature
        self.source_head = Frozen(backbone.required_source_head("method lwf"))
        self.source = Frozen(self.trunk) if teacher_view == "train" else None
        self.register_buffer("teacher", None, persistent=False)

    def check(self, data: TargetData) -> None:
        """Mixed images are refused."""
        if data.train.mixup and self.source is None:
            raise UserError(
                "method lwf knows teacher logits of single images and protocol.mixup mixes them: "
                "use method.teacher_view=train"
            )

    def preparation(self, images: int) -> float:
        """One pass of each image for teacher logits on plain views."""
        return 0.0 if self.source else float(images)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Teacher logits (N, S) of the plain training images."""
        if self.source is None:
            features = source_features(self.trunk, data.plain, data, cache, weights_id=self.weights_id)
            with torch.no_grad():
                self.teacher = self.source_head(features)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce`` on the target labels and ``kd``, the distillation of source logits."""
        features = self.features(batch.inputs)
        kd = distillation_loss(self.source_head(features), self._teacher_logits(batch), self.temperature)
        return {"ce": self.task.loss(self.head(features), batch.targets), "kd": self.weight * kd}

    def _teacher_logits(self, batch: Batch) -> Tensor:
        if self.source is not None:
            with torch.no_grad():
                return self.source_head(in_precision(self.precision, self.source, batch.inputs))
        if self.teacher is None or batch.index is None:
            raise UserError("LwF needs prepare() and batches of its data set, or teacher_view=train")
        return self.teacher[batch.index]
