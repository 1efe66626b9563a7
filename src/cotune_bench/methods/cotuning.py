"""Co-Tuning: the source head is kept and taught which source categories a target image resembles.

You, Kou, Long, Wang: Co-Tuning for Transfer Learning, NeurIPS 2020.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from cotune_bench import metrics
from cotune_bench import relationship as formulas
from cotune_bench.backbones.base import Backbone, evaluating
from cotune_bench.data.target import TargetData, Views
from cotune_bench.data.task import Batch, Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method, require_at_least, require_choice
from cotune_bench.methods.source_features import identity, source_features
from cotune_bench.storage import calibration_file, relationship_file
from cotune_bench.storage.cache import Arrays, Cache


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
        require_choice("select", select, formulas.SELECTIONS)
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
        """Learn the category relationship on the untrained network, once for all runs that share it."""
        self.check(data)
        temperature = self.source_info.temperature_at(data.known.crop) if self.source_info else 1.0
        rule: dict[str, object] = {"split": self.relationship_split}
        if self.approach == "reverse":
            rule = {"select": self.select, "calibrate_target": self.calibrate_target}
        inputs = {
            "data": data.fingerprint,
            "network": identity(self.trunk, data, weights_id=self.weights_id),
            "temperature": temperature,
            "approach": self.approach,
            **rule,
            "version": 6,
        }
        learnt = cache.get("relationship", inputs, lambda: self._learn(data, cache, temperature))
        self.relationship.copy_(torch.from_numpy(learnt["relationship"]))
        shares = relationship_file.to_csv(learnt["relationship"], data.classes, self.source_classes)
        self.kept = {relationship_file.FILE: shares}
        if self.approach == "reverse" and self.calibrate_target:
            temperatures = {"before": 1.0, "after": 1 / float(learnt["scale"])}
            states = {
                state: metrics.reliability(formulas.softmax(learnt["logits"], t), learnt["labels"], t)
                for state, t in temperatures.items()
            }
            self.kept[calibration_file.FILE] = calibration_file.to_csv(states)

    def _learn(self, data: TargetData, cache: Cache, temperature: float) -> Arrays:
        """``relationship`` (K, S), p(source | target).

        The reverse approach also returns ``logits`` and ``labels`` of held-out images, and their calibration's
        ``scale``. Source probabilities are those of plain training (and validation) images in one centre view.
        """

        def probabilities(part: Views) -> np.ndarray:
            """(n, S) in float64."""
            features = source_features(self.trunk, part, data, cache, weights_id=self.weights_id)
            with evaluating(self.source_head):
                logits = self.source_head(features).double().cpu()
            return torch.softmax(logits / temperature, dim=1).numpy()

        train, val = probabilities(data.plain), probabilities(data.val)
        train_labels, val_labels, classes = data.plain.labels, data.val.labels, len(data.classes)
        if self.approach == "direct":
            if self.relationship_split == "train+val":
                train, train_labels = np.concatenate([train, val]), np.concatenate([train_labels, val_labels])
            return {"relationship": formulas.direct_relationship(train, train_labels, classes)}
        samples = train, train_labels, val, val_labels
        relationship, fit = formulas.reverse_relationship(
            *samples, classes, calibrate=self.calibrate_target, select=self.select, return_fit=True
        )
        held_out = {"logits": fit.held_out_logits, "labels": fit.held_out_labels}
        return {"relationship": relationship, **held_out, "scale": np.array(fit.scale)}

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
