"""A trunk in which every image takes the pre-trained or the trained copy of each residual block."""

import copy
from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone, Frozen
from cotune_bench.backbones.precision import in_precision
from cotune_bench.backbones.trunk import leaves
from cotune_bench.data.task import Classification
from cotune_bench.methods.base import require_choice
from cotune_bench.methods.layer_subset import LayerSubset
from cotune_bench.parallel import divided


def gate(shortcut: Tensor | float, frozen: Tensor, tuned: Tensor, policy: Tensor) -> Tensor:
    """``shortcut + (1 - policy) * frozen + policy * tuned`` (SpotTune, Guo et al., 2019, eq. 2).

    Args:
        shortcut: what both copies are added to, (B, ...); 0 where they contain it.
        frozen, tuned: outputs (B, ...) of the pre-trained and the trained copy.
        policy: (B,), or a shape that begins like the outputs': 1 chooses ``tuned``.
    """
    policy = policy.to(tuned.dtype).reshape(policy.shape + (1,) * (tuned.ndim - policy.ndim))
    return shortcut + (1 - policy) * frozen + policy * tuned


def routed(maps: Tensor, frozen: nn.Module, tuned: nn.Module, policy: Tensor) -> Tensor:
    """Outputs of a block for maps (B, ...), by a policy (B,) of 0 and 1: those of :func:`gate`.

    A policy that learns needs both copies of all images, and batch statistics need all images; otherwise each copy
    sees only the images that use it.
    """
    if policy.requires_grad:
        return gate(0.0, frozen(maps), tuned(maps), policy)
    chosen = policy > 0.5
    rows = [(~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]]
    parts = []
    for module, part in zip((frozen, tuned), rows, strict=True):
        if module.training or len(part) == len(maps):
            parts.append(module(maps)[part] if len(part) < len(maps) else module(maps))
        elif len(part):
            parts.append(module(maps[part]))
    return torch.cat(parts)[torch.cat(rows).argsort()] if len(parts) > 1 else parts[0]


def uniform_of(images: Tensor, count: int) -> Tensor:
    """Uniform numbers (B, count) in [0, 1) that are a function of each image alone: the same at every prediction."""
    seeds = [crc32(image.numpy().tobytes()) for image in images.detach().float().cpu().contiguous()]
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(images.device)


class Routed(LayerSubset):
    """Cross-entropy of a routed trunk; the stem is frozen, each block has a trained copy.

    Args:
        routed_blocks: names of the blocks that have a frozen copy, too; the others are always trained.
        frozen_bn: ``eval`` keeps frozen copies as pre-trained; ``as_released`` trains their batch normalisation,
            moves its statistics and trains the stem, as the authors' code does.
    """

    compilable = False  # which rows a copy sees depends on the images
    recomputable = False  # it runs the layers of the trunk itself

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        routed_blocks: Sequence[str],
        *,
        frozen_bn: str = "eval",
        head_init: str | None = None,
    ) -> None:
        require_choice("frozen_bn", frozen_bn, ("eval", "as_released"))
        blocks, released = backbone.blocks, frozen_bn == "as_released"
        stem = [name for name, _ in leaves(backbone.trunk) if name not in blocks]
        super().__init__(backbone, num_classes, [*stem, *blocks] if released else blocks, head_init=head_init)
        self.blocks, self.routed_blocks = blocks, tuple(routed_blocks)
        originals = [self.trunk.get_submodule(name) for name in self.routed_blocks]
        if released:
            self.source = nn.ModuleList(map(_with_trained_norms, originals))
        else:
            self.source = nn.ModuleList(Frozen(block, persistent=True) for block in originals)

    def policy(self, images: Tensor) -> Tensor:
        """(B, number of routed blocks), 1 for the trained copy."""
        raise NotImplementedError

    def policies(self, images: Tensor) -> dict[str, Tensor]:
        """The policy by block; blocks that are not routed have 1."""
        chosen = dict(zip(self.routed_blocks, self.policy(images).unbind(dim=1), strict=True))
        return {name: chosen.get(name, images.new_ones(len(images))) for name in self.blocks}

    def features(self, images: Tensor) -> Tensor:
        """Features (B, width) in float32."""
        return self.features_by(self.policy(images), images)

    def features_by(self, policy: Tensor, images: Tensor) -> Tensor:
        """Features (B, width) by a policy (B, number of routed blocks)."""
        return divided(self._routed_features, policy, images)

    def _routed_features(self, policy: Tensor, images: Tensor) -> Tensor:
        chosen = dict(zip(self.routed_blocks, zip(self.source, policy.unbind(dim=1), strict=True), strict=True))

        def through(maps: Tensor) -> Tensor:
            for name, layer in leaves(self.trunk):
                if name in chosen:
                    frozen, share = chosen[name]
                    maps = routed(maps, frozen, layer, share)
                else:
                    maps = layer(maps)
            return maps

        return in_precision(self.precision, through, images)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Those of the trunk, and of frozen copies whose batch normalisation trains."""
        return [*super().pretrained_parameters(), *(p for p in self.source.parameters() if p.requires_grad)]


def _with_trained_norms(block: nn.Module) -> nn.Module:
    """A copy of a block whose batch normalisation alone trains."""
    block = copy.deepcopy(block).requires_grad_(False)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(True)
    return block
