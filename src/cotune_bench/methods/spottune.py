"""SpotTune: a policy decides for each image which residual blocks are fine-tuned (Guo et al., CVPR 2019)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import require_at_least, require_choice, require_positive
from cotune_bench.methods.layer_subset import require_blocks
from cotune_bench.methods.policy_network import PolicyNetwork, straight_through_gumbel
from cotune_bench.methods.routing import Routed, gate, uniform_of

__all__ = ["SpotTune", "gate", "straight_through_gumbel"]


class SpotTune(Routed):
    """Cross-entropy of a trunk routed by a policy network, which is trained with it.

    Args:
        tau: temperature of the Gumbel softmax in training.
        test_policy: ``argmax`` takes the likelier copy of each block, ``sample`` draws it, ``tuned`` is all blocks'
            trained copy.
        frozen_bn: ``eval`` or ``as_released``, see :class:`Routed`.
        policy_size: pixels to which the policy network's images are reduced.
        policy_widths, policy_blocks: channels and residual blocks of the policy network's stages.
        policy_lr, policy_weight_decay: of the policy network.
    """

    variants: ClassVar = {"test_policy": ("argmax", "tuned")}
    name = "spottune"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        tau: float = 5.0,
        test_policy: str = "argmax",
        frozen_bn: str = "eval",
        policy_size: int = 112,
        policy_widths: Sequence[int] = (16, 32, 64, 128),
        policy_blocks: int = 2,
        policy_lr: float = 0.01,
        policy_weight_decay: float = 0.001,
        head_init: str | None = None,
    ) -> None:
        require_positive("tau", [tau])
        require_positive("policy_lr", [policy_lr])
        require_positive("policy_widths", policy_widths)
        require_choice("test_policy", test_policy, ("argmax", "sample", "tuned"))
        require_at_least(0, policy_weight_decay=policy_weight_decay)
        require_at_least(1, policy_size=policy_size, policy_blocks=policy_blocks)
        blocks = require_blocks(backbone, self.name)
        super().__init__(backbone, num_classes, blocks, frozen_bn=frozen_bn, head_init=head_init)
        self.tau, self.test_policy = tau, test_policy
        self.policy_lr, self.policy_weight_decay = policy_lr, policy_weight_decay
        self.policy_network = PolicyNetwork(
            len(backbone.info.mean), len(blocks), size=policy_size, widths=policy_widths, blocks=policy_blocks
        )

    def policy(self, images: Tensor) -> Tensor:
        """(B, blocks): drawn with a straight-through gradient in training, by ``test_policy`` in evaluation."""
        if not self.training and self.test_policy == "tuned":
            return images.new_ones(len(images), len(self.blocks))
        logits = in_precision(self.precision, self.policy_network, images)
        if self.training:
            return straight_through_gumbel(logits, torch.rand_like(logits), self.tau)[..., 1]
        advantage = logits[..., 1] - logits[..., 0]
        if self.test_policy == "sample":
            return (uniform_of(images, len(self.blocks)) < advantage.sigmoid()).to(logits.dtype)
        return (advantage > 0).to(logits.dtype)

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """``pretrained``, ``head`` and ``policy``, which has its own learning rate and weight decay."""
        policy = {"lr": self.policy_lr, "weight_decay": self.policy_weight_decay}
        network = list(self.policy_network.parameters())
        return [*super().param_groups(lr, backbone_ratio), {"name": "policy", "params": network, **policy}]
