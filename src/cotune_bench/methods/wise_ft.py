"""WiSE-FT: weights between the pre-trained and the fine-tuned network (Wortsman et al., CVPR 2022)."""

import copy
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone, Frozen, evaluating
from cotune_bench.backbones.precision import arithmetic, in_precision
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.lp_ft import LPFT
from cotune_bench.storage.cache import Cache

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
UNCHOSEN = 0.5  # the paper's recommendation where nothing is held out


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """``(1 - alpha) start + alpha end`` of two state dicts; of whole numbers those of ``end`` (WiSE-FT, eq. 1)."""
    return {
        name: torch.lerp(start[name], value, alpha) if value.is_floating_point() else value
        for name, value in end.items()
    }


class WiseFT(LPFT):
    """Fine-tuning from the linear probe, evaluated between there and the trained weights, head and statistics too.

    Args:
        grid, without_validation: of the probe, see :class:`LPFT`.
        alpha: share of the trained weights, from 0 to 1; None: the one of ``ALPHAS`` with the best validation
            accuracy, then the least validation loss.
    """

    variants: ClassVar = {"alpha": (None, *ALPHAS)}
    chosen: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        grid: Sequence[float],
        without_validation: float,
        alpha: float | None = None,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, grid=grid, without_validation=without_validation, head_init=head_init)
        if alpha is not None and (isinstance(alpha, str) or not 0 <= alpha <= 1):
            raise UserError(f"method.alpha={alpha} cannot be used: give a number from 0 to 1, or null")
        self.alpha = alpha
        self.start = Frozen(nn.Sequential(self.trunk, self.head), persistent=True)
        self.register_buffer("chosen", torch.tensor(float("nan")))  # until training ends
        self.tried: dict[float, dict[str, float]] = {}

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Solve the probe; trunk and head are noted as the start."""
        super().prepare(data, cache)
        self.start.module.load_state_dict(nn.Sequential(self.trunk, self.head).state_dict())

    def finish(self, data: TargetData) -> None:
        """Choose alpha on the validation images, if there are any."""
        self.chosen.fill_(UNCHOSEN)
        if not len(data.val):
            return
        labels = torch.from_numpy(data.val.labels)
        with evaluating(self), arithmetic(self.precision):
            for alpha in ALPHAS:
                trunk, head = self.at(alpha)
                logits = [head(in_precision(self.precision, trunk, views.flatten(0, 1))).cpu() for views in data.val]
                self.tried[alpha] = self.task.metrics(torch.cat(logits), labels)
        self.chosen.fill_(max(ALPHAS, key=lambda one: (self.tried[one]["accuracy"], -self.tried[one]["nll"])))

    def artifacts(self) -> dict[str, str]:
        """``alpha.csv``: validation accuracy and loss at each alpha."""
        rows = [f"{alpha:g},{one['accuracy']:.6g},{one['nll']:.6g}" for alpha, one in self.tried.items()]
        return {"alpha.csv": "\n".join(["alpha,accuracy,nll", *rows]) + "\n"} if rows else {}

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, K) of the interpolated network."""
        trunk, head = self.plain()
        return head(in_precision(self.precision, trunk, images))

    def plain(self) -> tuple[nn.Module, nn.Linear]:
        """Trunk and head at alpha."""
        return self.at(self.chosen.item() if self.alpha is None else self.alpha)

    def at(self, alpha: float) -> tuple[nn.Module, nn.Linear]:
        """Trunk and head with this share of the trained weights, in evaluation mode."""
        network = copy.deepcopy(self.start.module)
        trained = nn.Sequential(self.trunk, self.head).state_dict()
        network.load_state_dict(interpolated(self.start.module.state_dict(), trained, alpha))
        trunk, head = network.children()
        return trunk, head  # pyright: ignore[reportReturnType]
