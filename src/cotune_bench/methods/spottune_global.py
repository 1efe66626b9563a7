"""SpotTune (Global-k): one set of k blocks is fine-tuned for the whole task (Guo et al., CVPR 2019)."""

import copy
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Batch, Classification
from cotune_bench.methods.base import require_at_least
from cotune_bench.methods.layer_subset import require_count
from cotune_bench.methods.spottune import SpotTune

#: Of the running mean of shares: about the last hundred updates decide.
MOMENTUM = 0.01


def count_penalty(shares: Tensor, k: int) -> Tensor:
    """``(sum_l v_l - k)^2`` of shares (blocks,): as many fine-tuned blocks as asked for."""
    return (shares.sum() - k).square()


def share_entropy(shares: Tensor) -> Tensor:
    """``sum_l H(v_l)`` in nats of shares (blocks,): images agree on a block where it is 0.

    The gradient of a share of exactly 0 or 1, which would be infinite, is 0.
    """
    inside = (shares > 0) & (shares < 1)
    safe = torch.where(inside, shares, 0.5)
    return torch.where(inside, torch.special.entr(safe) + torch.special.entr(1 - safe), 0.0).sum()


class SpotTuneGlobal(SpotTune):
    """SpotTune whose policies are pulled towards one set of ``k`` blocks; prediction fixes the k largest shares.

    Args:
        k: number of fine-tuned blocks.
        count_weight, entropy_weight: of the two terms.
        tau, frozen_bn, policy_size, policy_widths, policy_blocks, policy_lr, policy_weight_decay: as for
            :class:`SpotTune`.
    """

    variants: ClassVar = {}
    name = "spottune_global"
    shares: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        k: int = 3,
        count_weight: float = 0.1,
        entropy_weight: float = 0.1,
        tau: float = 5.0,
        frozen_bn: str = "eval",
        policy_size: int = 112,
        policy_widths: Sequence[int] = (16, 32, 64, 128),
        policy_blocks: int = 2,
        policy_lr: float = 0.01,
        policy_weight_decay: float = 0.001,
        head_init: str | None = None,
    ) -> None:
        require_at_least(0, count_weight=count_weight, entropy_weight=entropy_weight)
        super().__init__(
            backbone,
            num_classes,
            tau=tau,
            frozen_bn=frozen_bn,
            policy_size=policy_size,
            policy_widths=policy_widths,
            policy_blocks=policy_blocks,
            policy_lr=policy_lr,
            policy_weight_decay=policy_weight_decay,
            head_init=head_init,
        )
        require_count(1, self.blocks, backbone, k=k)
        self.k, self.count_weight, self.entropy_weight = k, count_weight, entropy_weight
        self.register_buffer("shares", torch.full((len(self.blocks),), 0.5))

    def fixed(self) -> Tensor:
        """(blocks,) of 0 and 1: the k blocks with the largest shares, the first among equal ones."""
        best = self.shares.argsort(descending=True, stable=True)[: self.k]
        return torch.zeros_like(self.shares).index_fill(0, best, 1.0)

    def policy(self, images: Tensor) -> Tensor:
        """(B, blocks): drawn for each image in training, one set of blocks in evaluation."""
        return super().policy(images) if self.training else self.fixed().expand(len(images), -1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce``, ``count`` and ``entropy`` of the batch's mean shares."""
        policy = self.policy(batch.inputs)
        shares = policy.mean(dim=0)
        if self.training:
            self.shares.lerp_(shares.detach(), MOMENTUM)
        logits = self.head(self.features_by(policy, batch.inputs))
        return {
            "ce": self.task.loss(logits, batch.targets),
            "count": self.count_weight * count_penalty(shares, self.k),
            "entropy": self.entropy_weight * share_entropy(shares),
        }

    def plain(self) -> tuple[nn.Module, nn.Linear]:
        """A trunk of the fixed copies."""
        trunk = copy.deepcopy(self.trunk)
        for name, source, tuned in zip(self.blocks, self.source, self.fixed(), strict=True):
            if not tuned:
                trunk.set_submodule(name, copy.deepcopy(getattr(source, "module", source)))
        return trunk, self.head
