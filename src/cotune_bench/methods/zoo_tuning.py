"""Zoo-Tuning: every convolution mixes those of several pre-trained networks (Shu et al., ICML 2021)."""

import copy
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cotune_bench.backbones.additional import require_one_architecture
from cotune_bench.backbones.base import Backbone, evaluating, tap
from cotune_bench.backbones.precision import arithmetic
from cotune_bench.data.target import TargetData, Views
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.zoo import AdaptiveConv2d
from cotune_bench.storage.cache import Cache


class ZooTuning(FineTune):
    """Cross-entropy on a trunk whose convolutions are mixed for each image by gates.

    Args:
        sources: further networks of the backbone's architecture, by name.
        as_released: no alignment in ``layer1`` and ``layer2``, as in the authors' code.
    """

    compilable = False
    task_gate: ClassVar[bool] = False

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int | Classification,
        *,
        sources: Mapping[str, Backbone],
        as_released: bool = False,
        head_init: str | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head_init=head_init)
        require_one_architecture(backbone, sources)
        self.source_names = ("backbone", *sources)
        trunks = [backbone.trunk, *(source.trunk for source in sources.values())]
        for name, layer in list(self.trunk.named_modules()):
            layers = [trunk.get_submodule(name) for trunk in trunks]
            if isinstance(layer, nn.Conv2d):
                released = not name.startswith(("layer1.", "layer2."))
                aligned = max(layer.kernel_size) > 1 and (released or not as_released)
                task_gate = self.task_gate and not (as_released and "downsample" in name)
                self.trunk.set_submodule(name, AdaptiveConv2d(layers, aligned=aligned, task_gate=task_gate))  # type: ignore[arg-type]
            elif isinstance(layer, nn.BatchNorm2d):
                _average(layer, layers)
            elif any(True for _ in layer.parameters(recurse=False)):
                raise UserError(
                    f"method zoo_tuning cannot mix layer {name} ({type(layer).__name__}): choose another backbone"
                )
        self.convolutions = {
            name: layer for name, layer in self.trunk.named_modules() if isinstance(layer, AdaptiveConv2d)
        }
        self.images: Views | None = None

    def prepare(self, data: TargetData, cache: Cache) -> None:
        """Note the training images, for the gates that :meth:`artifacts` reports."""
        self.images = data.plain

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The trunk's, without the gates."""
        gates = {id(parameter) for parameter in self.gate_parameters()}
        return [parameter for parameter in self.trunk.parameters() if id(parameter) not in gates]

    def gate_parameters(self) -> list[nn.Parameter]:
        """Those of all gates, which start at random."""
        return [parameter for layer in self.convolutions.values() for parameter in layer.gate.parameters()]

    def param_groups(self, lr: float, backbone_ratio: float) -> list[dict]:
        """The gates at ``lr``, as the head."""
        gates = {"name": "gates", "params": self.gate_parameters(), "lr": lr}
        return [*super().param_groups(lr, backbone_ratio), gates]

    def plain(self) -> tuple[nn.Module, nn.Linear] | None:
        """None: each image has a network of its own."""
        return None

    def artifacts(self) -> dict[str, str]:
        """Mean gates over the training images: ``gates.csv`` by layer, ``gates_by_class.csv`` over all layers."""
        if self.images is None:
            return {}
        by_class = self._gates_by_class(self.images)  # (K, layers, m)
        counts = torch.from_numpy(np.bincount(self.images.labels, minlength=self.task.num_classes))
        by_layer = (counts[:, None, None] * by_class).sum(dim=0) / counts.sum()
        texts = {"gates.csv": self._table("layer", dict(zip(self.convolutions, by_layer, strict=True)))}
        if not any(layer.task_gate for layer in self.convolutions.values()):
            texts["gates_by_class.csv"] = self._table("class", dict(enumerate(by_class.mean(dim=1))))
        return texts

    def _gates_by_class(self, images: Views) -> Tensor:
        """Mean gates (K, layers, m) over the images of each class; a task gate is the same for all."""
        found = []
        names = [f"{name}.gate" for name in self.convolutions]
        with evaluating(self), arithmetic(self.precision), tap(self.trunk, names) as gates:
            for views in images:
                self.features(views.flatten(0, 1))
                each = [
                    layer.running_gate.expand(len(views), -1) if layer.task_gate else gates[name].float()
                    for name, layer in zip(names, self.convolutions.values(), strict=True)
                ]
                found.append(torch.stack(each, dim=1).cpu())
        every, labels = torch.cat(found), torch.from_numpy(images.labels)
        return torch.stack([every[labels == number].mean(dim=0) for number in range(self.task.num_classes)])

    def _table(self, column: str, gates: Mapping) -> str:
        """CSV of one row for each layer or class, one column for each source."""
        rows = [f"{name},{','.join(f'{gate:.6f}' for gate in values.tolist())}" for name, values in gates.items()]
        return "\n".join([",".join([column, *self.source_names]), *rows]) + "\n"


class ZooTuningLite(ZooTuning):
    """Zoo-Tuning with one gate for the task; the trained sources merge into one network.

    Args:
        as_released: also a gate for each image in shortcuts, as in the authors' code; they cannot be merged.
    """

    task_gate = True

    def after_step(self) -> None:
        """Move the running gates."""
        for layer in self.convolutions.values():
            layer.follow()

    def plain(self) -> tuple[nn.Module, nn.Linear] | None:
        """The merged trunk, and the head; None where a layer has a gate for each image."""
        if not all(layer.task_gate for layer in self.convolutions.values()):
            return None
        merged = {name: layer.merged() for name, layer in self.convolutions.items()}
        trunk = copy.deepcopy(self.trunk)
        for name, layer in merged.items():
            trunk.set_submodule(name, layer)
        return trunk, self.head


@torch.no_grad()
def _average(layer: nn.BatchNorm2d, layers: list[nn.Module]) -> None:
    """Mean scale and shift of the sources, and statistics as of a new layer: those of no source fit the mix."""
    for name, parameter in layer.named_parameters():
        parameter.copy_(torch.stack([one.get_parameter(name) for one in layers]).mean(dim=0))
    layer.reset_running_stats()
