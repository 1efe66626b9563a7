"""Co-Tuning: the source head is kept and taught which source categories a target image resembles.

You, Kou, Long, Wang: Co-Tuning for Transfer Learning, NeurIPS 2020.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method, require_at_least, require_choice
from cotune_bench.methods.cotuning_relationship import files_of, relationship_of
from cotune_bench.relationship import SELECTIONS
from cotune_bench.storage.cache import Cache


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of ``-sum_s targets[b, s] log softmax(logits)[b, s]``, for (B, S) logits and targets."""
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1).mean()


class CoTuning(Method):
    """Cross-entropy on the target labels plus soft cross-entropy of the source head on ``p(source | target)``.

    Prediction uses the new head only, so that inference costs what fine-tuning's does.

    Args:
        trade_off: weight of the source term (lambda; 2.3 in the authors' code).
        relationship: ``reverse`` learns p(target | source) with validation data and turns it round by Bayes' rule,
            ``direct`` averages source probabilities per class.
        calibrate: ``source`` divides source logits by the backbone's temperature, ``target`` calibrates the learnt
            p(target | source) on held-out data, ``both``, or ``none``.
        select: how the reverse approach chooses its regression's C: by ``accuracy`` or ``nll`` on validation images,
            or ``cv``, by cross-validation on training and validation images together.
        relationship_split: images that the direct approach averages over, ``train`` or ``train+val``.
    """

    relationship: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        trade_off: float = 2.3,
        relationship: str = "reverse",
        calibrate: str = "both",
        select: str = "accuracy",
        relationship_split: str = "train",
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_choice("relationship", relationship, ("reverse", "direct"))
        require_choice("calibrate", calibrate, ("none", "source", "target", "both"))
        require_choice("select", select, SELECTIONS)
        require_choice("relationship_split", relationship_split, ("train", "train+val"))
        require_at_least(0, trade_off=trade_off)
        if relationship == "direct" and calibrate == "target":
            raise UserError("method.calibrate=target has no meaning for method.relationship=direct: use source")
        self.source_head = backbone.required_source_head("method cotuning")
        self.trade_off = trade_off
        self.approach = relationship
        self.calibrate_target = calibrate in ("target", "both")
        self.select = select
        self.relationship_split = relationship_split
        self.source_info = backbone.info if calibrate in ("source", "both") else None
        self.source_classes = backbone.info.classes
        self.kept: dict[str, str] = {}
        # NaN until prepare() or a state dict fills it: training without a relationship stops at once.
        unknown = torch.full((self.task.num_classes, self.source_head.out_features), torch.nan)
        self.register_buffer("relationship", unknown)

    def check(self, data: TargetData) -> None:
        """The reverse approach chooses its regression on validation images."""
        if self.approach == "reverse" and len(data.val) == 0:
            raise UserError(
                "method.relationship=reverse needs validation images and the protocol holds out none: "
                "set protocol.val=0.2 or method.relationship=direct"
            )

    def preparation(self, images: int) -> float:
        """One pass of each image, whose source probabilities make the relationship."""
        return float(images)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Fit the category relationship on the untrained network."""
        self.check(data)
        learnt = relationship_of(
            self.trunk,
            self.source_head,
            data,
            cache,
            weights_id=self.weights_id,
            temperature=self.source_info.temperature_at(data.known.crop) if self.source_info else 1.0,
            approach=self.approach,
            calibrate_target=self.calibrate_target,
            select=self.select,
            split=self.relationship_split,
        )
        self.relationship.copy_(torch.from_numpy(learnt["relationship"]))
        self.kept = files_of(learnt, data.classes, self.source_classes, calibrated=self.calibrate_target)

    def artifacts(self) -> dict[str, str]:
        """The relationship, and how well p(target | source) was calibrated before and after."""
        return self.kept

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce`` on the target labels and ``source``, the soft cross-entropy of the source head."""
        features = self.features(batch.inputs)
        shares = batch.shares
        wanted = self.relationship[batch.labels] if shares is None else shares @ self.relationship
        source = soft_cross_entropy(self.source_head(features), wanted)
        return {"ce": self.task.loss(self.head(features), batch.targets), "source": self.trade_off * source}

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The trunk's and the source head's."""
        return [*self.trunk.parameters(), *self.source_head.parameters()]
