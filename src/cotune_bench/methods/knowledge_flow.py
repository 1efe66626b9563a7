"""Knowledge Flow: a student adds transformed maps of frozen teachers, less and less (Liu et al., ICLR 2019).

Made from the description: its page says what is not known.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cotune_bench.backbones.additional import require_one_architecture
from cotune_bench.backbones.base import Backbone, Frozen, tap
from cotune_bench.backbones.precision import in_precision
from cotune_bench.backbones.trunk import leaves
from cotune_bench.data.task import Batch, Classification
from cotune_bench.methods.base import Method, require_at_least, require_positive
from cotune_bench.methods.layer_subset import require_blocks
from cotune_bench.methods.progressive import stage_channels


def flow_shares(logits: Tensor, influence: float) -> Tensor:
    """Shares (1 + m,) of the student, first, and its teachers: a softmax, with ``influence`` times the teachers'.

    The student has what they lose, so that the sum stays 1 and no influence is the student alone.
    """
    teachers = influence * logits.softmax(dim=0)[1:]
    return torch.cat([1 - teachers.sum(dim=0, keepdim=True), teachers])


class Mix(nn.Module):
    """The maps of a stage: a learned mix of the student's and those of m teachers, each through a 1x1 convolution."""

    def __init__(self, channels: int, teachers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1 + teachers))
        self.transforms = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in range(teachers))
        for layer in self.transforms.children():
            nn.init.dirac_(layer.weight)  # pyright: ignore[reportArgumentType]

    def forward(self, own: Tensor, others: list[Tensor], influence: float) -> Tensor:
        """Maps (B, channels, H, W) of those of the student and the teachers."""
        shares = flow_shares(self.logits, influence).to(own.dtype)
        parts = zip(shares[1:], self.transforms, others, strict=True)
        return sum((share * layer(maps) for share, layer, maps in parts), start=shares[0] * own)


class KnowledgeFlow(Method):
    """Cross-entropy of a student whose stages mix in maps of frozen teachers, and a penalty on their share.

    The teachers are the backbone as it is pre-trained and the sources. Their influence falls linearly to none; the
    student alone predicts.

    Args:
        sources: further teachers, networks of the backbone's architecture, by name.
        updates: of the run.
        weight: of the penalty ``dep``, the mean over the stages of minus the logarithm of the student's share.
        alone: share of the updates after which the teachers have no influence.
    """

    compilable = False  # hooks on the teachers come and go with every update
    recomputable = False  # it runs the layers of the trunk itself
    divisible = False  # its mixes take no part in later updates, which DistributedDataParallel would wait for
    done: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        sources: Mapping[str, Backbone],
        updates: int,
        weight: float = 0.1,
        alone: float = 0.5,
        head_init: str | None = None,
    ) -> None:
        blocks = require_blocks(backbone, "knowledge_flow")
        super().__init__(backbone, num_classes, head_init=head_init)
        require_at_least(0, weight=weight)
        require_positive("alone", [alone])
        require_one_architecture(backbone, sources)
        self.weight, self.fading = weight, max(1.0, alone * updates)
        stages = stage_channels(backbone, blocks)
        self.stages = list(stages)
        self.teachers = nn.ModuleList(Frozen(one.trunk) for one in (backbone, *sources.values()))
        self.flow = nn.ModuleList(Mix(channels, len(self.teachers)) for channels in stages.values())
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``ce`` and ``dep``."""
        influence = max(0.0, 1 - int(self.done) / self.fading)
        features = self._mixed(batch.inputs, influence) if influence else self.features(batch.inputs)
        own = torch.stack([flow_shares(mix.logits, influence)[0] for mix in self.flow])  # pyright: ignore
        ce = self.task.loss(self.head(features), batch.targets)
        return {"ce": ce, "dep": self.weight * -own.log().mean()}

    def _mixed(self, images: Tensor, influence: float) -> Tensor:
        """Features (B, width) of the student with its teachers."""

        def through(maps: Tensor) -> Tensor:
            seen = []
            for teacher in self.teachers:
                with torch.no_grad(), tap(teacher.module, self.stages) as found:  # pyright: ignore
                    teacher(maps)
                seen.append(found)
            for name, layer in leaves(self.trunk):
                maps = layer(maps)
                if name in self.stages:
                    maps = self.flow[self.stages.index(name)](maps, [one[name] for one in seen], influence)
            return maps

        return in_precision(self.precision, through, images)

    def after_step(self) -> None:
        """The influence falls."""
        self.done += 1

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """The mixes at the head's rate."""
        flow = {"name": "flow", "params": list(self.flow.parameters()), "lr": lr}
        return [*super().param_groups(lr, backbone_ratio), flow]
