"""The adaptive convolution of Zoo-Tuning: a gated mix of the aligned convolutions of m pre-trained networks.

Shu, Kou, Cao, Wang, Long: Zoo-Tuning: Adaptive Transfer from a Zoo of Models, ICML 2021.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, unfold

from cotune_bench.errors import UserError
from cotune_bench.parallel import batch_mean

DECAY = 0.9  # of the running gate: of the authors' code
#: Positions times sources up to which the m convolutions of an image cost less than weights of its own, as measured.
FEW = 256


def aggregate(
    weights: Tensor | Sequence[Tensor], alignments: Tensor | Sequence[Tensor] | None, gates: Tensor
) -> Tensor:
    """``sum_i gates[..., i] * (T_i W_i)``: the weights (..., O, I, h, w) of the mixed convolutions (Zoo-Tuning).

    Args:
        weights: W_i, (m, O, I, h, w), of the m sources.
        alignments: T_i, (m, O, O), each mixes the output channels of its source; None: identity.
        gates: (..., m), such as (B, m) for a convolution of its own for each image, or (m,) for one.
    """
    return mix(align(_stacked(weights), None if alignments is None else _stacked(alignments)), gates)


def align(weights: Tensor, alignments: Tensor | None) -> Tensor:
    """``T_i W_i``, (m, O, ...), of weights of this shape and alignments (m, O, O); None is identity."""
    if alignments is None:
        return weights
    return torch.bmm(alignments, weights.flatten(2)).view_as(weights)


def mix(weights: Tensor, gates: Tensor) -> Tensor:
    """``sum_i gates[..., i] * weights[i]``, (..., *shape) of weights (m, *shape) and gates (..., m)."""
    return (gates @ weights.flatten(1)).view(*gates.shape[:-1], *weights.shape[1:])


def _stacked(parts: Tensor | Sequence[Tensor]) -> Tensor:
    return parts if isinstance(parts, Tensor) else torch.stack(list(parts))


class Gate(nn.Sequential):
    """``sigmoid(A2 relu(A1 gap(x)) + b)``, (B, m), of maps (B, channels, H, W); near 0.5 at the start."""

    def __init__(self, channels: int, sources: int) -> None:
        hidden = channels // 4 + 1
        first, second = nn.Linear(channels, hidden, bias=False), nn.Linear(hidden, sources)
        for layer in (first, second):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(second.bias)
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), first, nn.ReLU(), second, nn.Sigmoid())


class AdaptiveConv2d(nn.Module):
    """A convolution whose weights are a gated mix of m pre-trained ones, for each image or for the whole task.

    Args:
        layers: convolutions of the sources, of equal shapes and settings; their weights are copied.
        aligned: whether trainable matrices, identity at first, mix the output channels of each source.
        task_gate: one gate for all images: the mean of the batch in training, else its running mean, which
            :meth:`follow` moves after every update, from 0 and without correction.
    """

    weight: nn.Parameter
    running_gate: Tensor

    def __init__(self, layers: Sequence[nn.Conv2d], *, aligned: bool = True, task_gate: bool = False) -> None:
        super().__init__()
        first = layers[0]
        if first.padding_mode != "zeros":
            raise UserError(
                f"convolutions with {first.padding_mode} padding cannot be mixed: choose another backbone"
            )
        self.settings = {"stride": first.stride, "padding": first.padding, "dilation": first.dilation}
        self.groups = first.groups
        self.kernel = first.weight.shape[1:]  # (I, h, w), flat in the weight: four axes would mean a memory layout
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().flatten(1) for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None
        identity = torch.eye(first.out_channels, dtype=first.weight.dtype, device=first.weight.device)
        self.alignment = nn.Parameter(identity.repeat(len(layers), 1, 1)) if aligned else None
        self.gate: nn.Module = Gate(first.in_channels, len(layers)).to(first.weight)
        self.task_gate = task_gate
        if task_gate:
            self.register_buffer("running_gate", first.weight.new_zeros(len(layers)))
        self._batch_gate: Tensor | None = None
        self._folded: tuple[tuple[int, ...], Tensor] | None = None

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, O, H', W') of maps (B, I, H, W)."""
        gates = self._gate_of_task(maps) if self.task_gate else self.gate(maps)
        if self._few(maps):
            return self._each(maps, gates)
        weight, bias = self.mixed(gates)
        if self.task_gate:
            return conv2d(maps, weight, bias, groups=self.groups, **self.settings)
        images, bias = len(maps), None if bias is None else bias.flatten()
        joined = maps.reshape(1, -1, *maps.shape[2:])
        outputs = conv2d(joined, weight.flatten(0, 1), bias, groups=images * self.groups, **self.settings)
        return outputs.view(images, -1, *outputs.shape[2:])

    def _size(self, maps: Tensor) -> tuple[int, ...]:
        """H' and W' for maps (B, I, H, W)."""
        settings = (self.settings[name] for name in ("padding", "dilation", "stride"))
        rows = zip(maps.shape[2:], self.kernel[1:], *settings, strict=True)
        return tuple((side + 2 * pad - gap * (kernel - 1) - 1) // step + 1 for side, kernel, pad, gap, step in rows)

    def _few(self, maps: Tensor) -> bool:
        """Whether it is faster to mix the maps of m convolutions than their weights."""
        sources, channels = self.weight.shape[:2]
        if self.groups > 1:
            return False
        positions = math.prod(self._size(maps))
        if not self.task_gate:
            return positions * sources <= FEW
        # A task gate mixes weights at no cost, but aligned ones; of maps, fewer rows are aligned.
        return torch.is_grad_enabled() and self.alignment is not None and len(maps) * positions < channels

    def _each(self, maps: Tensor, gates: Tensor) -> Tensor:
        """The gated sum of the aligned maps of all m convolutions, as one product of matrices each."""
        sources, channels = self.weight.shape[:2]
        if self.alignment is None or torch.is_grad_enabled():
            weight, alignment = self.weight, self.alignment
        else:
            weight, alignment = self._aligned(), None
        columns = unfold(maps, self.kernel[1:], **self.settings).transpose(1, 2)  # (B, P, I * h * w)
        found = (columns @ weight.flatten(0, 1).T).unflatten(-1, (sources, channels))
        found = found * gates.view(-1, 1, sources, 1)
        if alignment is None:
            outputs = found.sum(dim=2)
        else:
            outputs = found.flatten(2) @ alignment.transpose(1, 2).flatten(0, 1)
        if self.bias is not None:
            outputs = outputs + (gates @ self.bias).view(-1, 1, channels)
        return outputs.transpose(1, 2).unflatten(2, self._size(maps))

    def mixed(self, gates: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weights (..., O, I, h, w) and biases (..., O), None without, for gates (..., m)."""
        with torch.autocast(gates.device.type, enabled=False):  # rounded once, by the convolution
            gates = gates.to(self.weight.dtype)
            weight = mix(self._aligned(), gates).unflatten(-1, self.kernel)
            return weight, None if self.bias is None else gates @ self.bias

    def _aligned(self) -> Tensor:
        """Aligned weights, which do not depend on the images: computed once where nothing trains."""
        if self.alignment is None or torch.is_grad_enabled():
            return align(self.weight, self.alignment)
        state = (self.weight.data_ptr(), self.weight._version, self.alignment._version)
        if self._folded is None or self._folded[0] != state:
            self._folded = state, align(self.weight, self.alignment)
        return self._folded[1]

    def _gate_of_task(self, maps: Tensor) -> Tensor:
        if not self.training:
            return self.running_gate
        gate = batch_mean(self.gate(maps))
        self._batch_gate = gate.detach()
        return gate

    @torch.no_grad()
    def follow(self) -> None:
        """Move the running gate by the last training batch: ``e <- 0.9 e + 0.1 mean``."""
        if self.task_gate and self._batch_gate is not None:
            self.running_gate.mul_(DECAY).add_(self._batch_gate, alpha=1 - DECAY)
            self._batch_gate = None

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """The plain convolution that predicts the same, of a task gate."""
        weight, bias = self.mixed(self.running_gate)
        channels = weight.shape[1] * self.groups
        options = {**self.settings, "groups": self.groups, "bias": bias is not None}
        layer = nn.Conv2d(channels, len(weight), tuple(weight.shape[2:]), **options).to(weight)  # type: ignore[arg-type]
        layer.weight.copy_(weight)
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias)
        return layer
