"""BN-only: of the trunk, only normalisation layers are trained (Mudrakarta et al., ICLR 2019)."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cotune_bench.methods.parameter_subset import ParameterSubset


class BNOnly(ParameterSubset):
    """Fine-tuning of scales and shifts of the trunk's normalisation layers, and of the head."""

    @staticmethod
    def chosen(trunk: nn.Module) -> Iterator[nn.Parameter]:
        """Of batch, group and layer normalisation."""
        for module in trunk.modules():
            if isinstance(module, (_BatchNorm, nn.GroupNorm, nn.LayerNorm)):
                yield from module.parameters(recurse=False)
