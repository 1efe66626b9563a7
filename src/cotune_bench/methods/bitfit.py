"""BitFit: of the trunk, only biases are trained (Ben Zaken, Goldberg, Ravfogel, ACL 2022)."""

from collections.abc import Iterator

from torch import nn

from cotune_bench.methods.parameter_subset import ParameterSubset


class BitFit(ParameterSubset):
    """Fine-tuning of the trunk's biases, those of normalisation layers included, and of the head."""

    @staticmethod
    def chosen(trunk: nn.Module) -> Iterator[nn.Parameter]:
        """Parameters with the name ``bias``."""
        for name, parameter in trunk.named_parameters():
            if name.rpartition(".")[2] == "bias":
                yield parameter
