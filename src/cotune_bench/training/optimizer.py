"""The optimiser of the one loop."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class SGD:
    """SGD with momentum and weight decay in one fused kernel for each group: the steps of ``torch.optim.SGD``.

    It calls torch's own function, for the class around that imports torch's compiler: two seconds for every run.

    Args:
        groups: each with ``params``, ``lr`` and perhaps a ``weight_decay`` of its own.
        momentum: factor of the steps so far.
        nesterov: whether momentum looks ahead (Sutskever et al., 2013).
        weight_decay: of groups without their own.
    """

    def __init__(self, groups: Sequence[dict], *, momentum: float, nesterov: bool, weight_decay: float) -> None:
        self.groups = [{"weight_decay": weight_decay, **group} for group in groups]
        self.momentum = momentum
        self.nesterov = nesterov
        parameters: list[nn.Parameter] = [parameter for group in self.groups for parameter in group["params"]]
        # Zeros rather than the first gradient: the sums are the same, and no step is a special one.
        self.buffers = {parameter: torch.zeros_like(parameter) for parameter in parameters}
        if len(self.buffers) < len(parameters):
            raise ValueError("a parameter is in two groups, and would be moved twice")

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.buffers:
            parameter.grad = None

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """One update with every learning rate times ``factor``; parameters without a gradient stay as they are."""
        for group in self.groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            sgd(
                moved,
                [parameter.grad for parameter in moved],
                [self.buffers[parameter] for parameter in moved],
                fused=True,
                weight_decay=group["weight_decay"],
                momentum=self.momentum,
                lr=group["lr"] * factor,
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
            )

    def state_dict(self) -> dict[str, dict[int, dict[str, Tensor]]]:
        """Momentum by the number of the parameter, as in ``torch.optim.SGD``."""
        return {"state": {number: {"momentum_buffer": held} for number, held in enumerate(self.buffers.values())}}

    def load_state_dict(self, saved: dict) -> None:
        """What :meth:`state_dict` gave, copied."""
        for number, held in enumerate(self.buffers.values()):
            held.copy_(saved["state"][number]["momentum_buffer"])
