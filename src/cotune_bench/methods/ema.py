"""EMA: an exponential moving average of the weights is evaluated (Tarvainen, Valpola, NeurIPS 2017)."""

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone, Frozen
from cotune_bench.backbones.precision import in_precision
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache


def average_decay(updates: int, decay: float) -> float:
    """Share that the average keeps at its update number ``updates``, from 0: at first little, later ``decay``."""
    return min(decay, (1 + updates) / (10 + updates))


class EMA(Method):
    """Fine-tuning whose moving average of weights and batch statistics predicts; the loss is that of the weights.

    Args:
        decay: share of the average that an update keeps, after the first updates.
    """

    updates: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        decay: float = 0.99,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        if not 0 <= decay < 1:
            raise UserError(f"method.decay={decay} cannot be used: it must be in [0, 1)")
        self.decay = decay
        self.average = Frozen(nn.Sequential(self.trunk, self.head), persistent=True)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """The average starts at the head as the protocol draws it."""
        self.average.module.load_state_dict(nn.Sequential(self.trunk, self.head).state_dict())

    @torch.no_grad()
    def after_step(self) -> None:
        """The average follows weights and batch statistics."""
        decay = average_decay(int(self.updates), self.decay)
        self.updates += 1
        network = nn.Sequential(self.trunk, self.head).state_dict()
        for name, value in self.average.module.state_dict().items():
            if value.is_floating_point():
                value.lerp_(network[name], 1 - decay)
            else:
                value.copy_(network[name])

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, K) of the average."""
        trunk, head = self.plain()
        return head(in_precision(self.precision, trunk, images))

    def plain(self) -> tuple[nn.Module, nn.Linear]:
        """Trunk and head of the average."""
        trunk, head = self.average.module.children()
        return trunk, head  # pyright: ignore[reportReturnType]
