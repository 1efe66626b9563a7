"""Bi-Tuning: two contrastive losses, of projections and of class weights (Zhong et al., arXiv 2011.06182)."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, pad

from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Batch, Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method, require_at_least, require_positive


def contrastive_loss(own: Tensor, scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean KL divergence of softmaxes over 1 + K * Q scores from uniform targets on the positives (Bi-Tuning).

    Args:
        own: (B,), score of each sample with its own key.
        scores: (B, K, Q), of each sample with the Q queue entries of each class.
        labels: (B,); own key and the entries of this class are the 1 + Q positives.
        temperature: divides all scores.
    """
    logits = log_softmax(torch.cat([own[:, None], scores.flatten(1)], dim=1) / temperature, dim=1)
    of_class = logits[:, 1:].view_as(scores)[torch.arange(len(labels), device=labels.device), labels]
    positives = torch.cat([logits[:, :1], of_class], dim=1)
    return -(positives + torch.log(positives.new_tensor(positives.shape[1]))).mean()


def enqueue(queue: Tensor, place: Tensor, keys: Tensor, labels: Tensor) -> None:
    """Write keys (B, D) of these labels (B,), in order, into their class's ring of queue (K, Q, D), in place.

    The oldest entries go first; ``place`` (K,), int64, is where the next key of each class goes, and is moved.
    """
    size, same = queue.shape[1], labels[:, None] == labels
    earlier, later = same.tril(-1).sum(dim=1), same.triu(1).sum(dim=1)
    kept = later < size  # of more keys than places, the last
    queue[labels[kept], (place[labels] + earlier)[kept] % size] = keys[kept]
    place.add_(torch.bincount(labels, minlength=len(place))).remainder_(size)


class BiTuning(Method):
    """Fine-tuning plus contrast of a second view's keys, by projections ``z`` and by the classifier's weights.

    Keys come from a copy of the network that follows it slowly; queues hold the latest keys of each class.

    Args:
        weight: of both contrastive losses.
        queue_size: Q, keys of each class in a queue.
        momentum: of the key network's parameters; its batch statistics are those of its own passes.
        temperature: of the scores.
        projection: dimensions of z.
    """

    train_views = 2
    queue_z: Tensor
    queue_h: Tensor
    place: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        weight: float = 1.0,
        queue_size: int = 40,
        momentum: float = 0.999,
        temperature: float = 0.07,
        projection: int = 128,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_at_least(0, weight=weight, momentum=momentum)
        require_at_least(1, queue_size=queue_size, projection=projection)
        require_positive("temperature", [temperature])
        if momentum > 1:
            raise UserError(f"method.momentum={momentum} cannot be used: it must be at most 1")
        self.weight, self.momentum, self.temperature = weight, momentum, temperature
        self.projector = nn.Linear(backbone.width, projection)
        self.key = copy.deepcopy(nn.ModuleList([self.trunk, self.projector])).requires_grad_(False)
        classes = self.task.num_classes
        for name, width in (("z", projection), ("h", backbone.width + 1)):
            self.register_buffer(f"queue_{name}", normalize(torch.randn(classes, queue_size, width), dim=2))
        self.register_buffer("place", torch.zeros(classes, dtype=torch.int64))

    def check(self, data: TargetData) -> None:
        """Mixed images are refused."""
        if data.train.mixup:
            raise UserError(
                "method bi_tuning has queues of single images and protocol.mixup mixes them: use protocol.mixup=0"
            )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce``, and the contrastive losses ``z`` of projections and ``y`` of the classifier."""
        features = self.features(batch.inputs)
        z, h = normalize(self.projector(features), dim=1), _direction(features)
        with torch.no_grad():
            trunk, projector = self.key
            found = in_precision(self.precision, trunk, batch.views[0] if batch.views else batch.inputs)
            z_key, h_key = normalize(projector(found), dim=1), _direction(found)
        # As released: z is compared with the queue before this batch, class weights with the queue after it.
        scores = torch.einsum("bd,kqd->bkq", z, self.queue_z.clone())
        enqueue(self.queue_z, self.place.clone(), z_key, batch.labels)
        enqueue(self.queue_h, self.place, h_key, batch.labels)
        by_z = contrastive_loss((z * z_key).sum(dim=1), scores, batch.labels, self.temperature)
        weights = normalize(torch.cat([self.head.weight, self.head.bias[:, None]], dim=1).detach(), dim=1)
        own = weights[batch.labels]
        scores = torch.einsum("bd,kqd->bkq", own, self.queue_h)
        by_y = contrastive_loss((h * own).sum(dim=1), scores, batch.labels, self.temperature)
        ce = self.task.loss(self.head(features), batch.targets)
        return {"ce": ce, "z": self.weight * by_z, "y": self.weight * by_y}

    def after_step(self) -> None:
        """The key network follows: parameters are ``momentum`` of its own and the rest of the trained ones."""
        keys, values = list(self.key.parameters()), self.pretrained_parameters()
        torch._foreach_lerp_(keys, [value.detach() for value in values], 1 - self.momentum)  # pyright: ignore

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The trunk's and the projector's."""
        return [*self.trunk.parameters(), *self.projector.parameters()]


def _direction(features: Tensor) -> Tensor:
    """Unit vectors (B, D + 1) of features (B, D) with a one behind them."""
    return normalize(pad(features, (0, 1), value=1.0), dim=1)
