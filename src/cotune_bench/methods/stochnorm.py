"""StochNorm: batch normalisation that chooses its statistics at random (Kou, You, Long, Wang, NeurIPS 2020)."""

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.finetune import FineTune


def stochastic_normalization(
    x: Tensor,
    batch_branch: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of x (B, C, ...) by its batch or by its running statistics (StochNorm, eq. 4).

    Gradients are exact: they flow through batch statistics and see running ones as constants. Nothing is updated.

    Args:
        x: maps.
        batch_branch: (C,) bool; where it is true, the mean and biased variance of the batch are used.
        running_mean, running_var: (C,), as before this batch.
        weight, bias: (C,), the affine transformation after either; None for one and zero.
        eps: added to the variance.
    """
    var, mean = _moments(x)
    mean = torch.where(batch_branch, mean, running_mean)
    scale = torch.where(batch_branch, var, running_var).add(eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    shape = (-1, *[1] * (x.dim() - 2))
    return x * scale.view(shape) + shift.view(shape)


class StochNorm(nn.BatchNorm2d):
    """A layer of batch normalisation, with its values, that draws the branch of each channel in training.

    Args:
        norm: the layer it takes the place of.
        p: probability of batch statistics.
    """

    running_mean: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]
    running_var: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]
    num_batches_tracked: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, norm: nn.BatchNorm2d, p: float) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, affine=norm.affine)  # pyright: ignore
        self.load_state_dict(norm.state_dict())
        self.train(norm.training)
        self.p = p
        # timm's layers of batch normalisation contain what follows them.
        self.after = nn.Sequential(*(getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)))

    def forward(self, input: Tensor) -> Tensor:
        """Maps of the shape and type of ``input``; running statistics are updated after their use."""
        return self.after(self._normalized(input) if self.training else super().forward(input))

    def _normalized(self, input: Tensor) -> Tensor:
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        chosen = torch.rand(self.num_features, device=x.device) < self.p
        # The update below is in place, and the backward pass needs the values from before.
        before = self.running_mean.clone(), self.running_var.clone()
        normed = stochastic_normalization(x, chosen, *before, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            for running, value in zip((self.running_var, self.running_mean), _moments(x, correction=1), strict=True):
                running.lerp_(value.to(running), momentum)
        return normed.to(input.dtype)


class StochNormFineTune(FineTune):
    """Fine-tuning in which every layer of batch normalisation of the trunk is a StochNorm.

    Args:
        p: probability that a channel is normalised by batch statistics; 1 is fine-tuning.

    Raises:
        UserError: the backbone has no batch normalisation.
    """

    recomputable = False  # the second computation would see moved statistics
    divisible = False  # its layers take statistics of the rows that they see

    def __init__(
        self, backbone: Backbone, num_classes: int | Classification, *, p: float = 0.5, head_init: str | None = None
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        if not 0 <= p <= 1:
            raise UserError(f"method.p={p} cannot be used: it must be in [0, 1]")
        norms = [
            (module, name, child)
            for module in self.trunk.modules()
            for name, child in module.named_children()
            if isinstance(child, nn.BatchNorm2d)
        ]
        if not norms:
            raise UserError(f"backbone {backbone.name} has no batch normalisation: choose another backbone")
        for module, name, norm in norms:
            setattr(module, name, StochNorm(norm, p))


def _moments(x: Tensor, correction: int = 0) -> tuple[Tensor, Tensor]:
    """Variance and mean (C,) of maps (B, C, ...)."""
    return torch.var_mean(x, dim=[0, *range(2, x.dim())], correction=correction)
