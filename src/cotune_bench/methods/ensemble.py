"""Ensemble: the sum of the logits of networks that were fine-tuned from single sources, in runs of their own."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone
from cotune_bench.backbones.precision import in_precision
from cotune_bench.config import single_key
from cotune_bench.data.target import TargetData
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.base import Method
from cotune_bench.storage.cache import Cache
from cotune_bench.storage.records import RecordStore


class Members(nn.ModuleList):
    """Networks, each a trunk and a head.

    Args:
        backbones: of which the trunks are taken.
        task: of the target data, which gives the heads.
    """

    def __init__(self, backbones: Sequence[Backbone], task: Classification) -> None:
        super().__init__(
            nn.Sequential(OrderedDict(trunk=backbone.trunk, head=task.head(backbone.width))) for backbone in backbones
        )

    def forward(self, images: Tensor) -> Tensor:
        """The sum of their logits (B, K)."""
        return torch.stack([network(images).float() for network in self]).sum(dim=0)


class Ensemble(Method):
    """Sum of the logits of finished runs of fine-tuning, one from the backbone and one from each source.

    Args:
        sources: further pre-trained networks, by name.
        parts: settings of the runs, in the order of the backbone and the sources.
        results: folder of their records and kept networks.
    """

    solved = True

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        sources: Mapping[str, Backbone],
        parts: Sequence[str],
        results: str = "results",
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        self.parts, self.results = list(parts), Path(results)
        self.others = Members(list(sources.values()), self.task)

    def check(self, data: TargetData) -> None:
        """All runs are there, with their networks."""
        finished_networks(self.parts, self.results)

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Read the trained networks."""
        first = nn.Sequential(OrderedDict(trunk=self.trunk, head=self.head))
        for network, path in zip([first, *self.others], finished_networks(self.parts, self.results), strict=True):
            network.load_state_dict(load_file(path))

    def predict(self, images: Tensor) -> Tensor:
        """The sum of all logits (B, K)."""
        logits = super().predict(images)
        return logits + in_precision(self.precision, self.others, images) if len(self.others) else logits


def finished_networks(parts: Sequence[str], results: Path) -> list[Path]:
    """Files of weights of these runs; UserError names the commands that make the missing ones."""
    store, paths, commands = RecordStore(results), [], []
    for part in parts:
        key = single_key(part)
        paths.append(results / "runs" / key / "model.safetensors")
        finished = store.finished(key)
        if not finished or not paths[-1].is_file():
            again = " force=true" if finished else ""
            place = "" if results == Path("results") else f" results={results}"
            commands.append(f"cotune-bench run {part}{place} keep_checkpoint=true{again}")
    if commands:
        raise UserError(
            f"{len(commands)} of {len(parts)} runs of single sources are missing in {results}, or their networks: "
            f"make them with {'; '.join(commands)}"
        )
    return paths
