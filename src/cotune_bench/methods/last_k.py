"""Fine-tuning of the last k residual blocks and the head."""

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.errors import UserError
from cotune_bench.methods.layer_subset import LayerSubset, require_blocks


class LastK(LayerSubset):
    """Cross-entropy; everything before the last ``k`` blocks is frozen."""

    def __init__(
        self, backbone: Backbone, num_classes: int | Classification, *, k: int = 1, head_init: str | None = None
    ) -> None:
        blocks = require_blocks(backbone, "last_k")
        if not 1 <= k <= len(blocks):
            raise UserError(f"method.k={k} cannot be used: backbone {backbone.name} has 1 to {len(blocks)} blocks")
        super().__init__(backbone, num_classes, blocks[-k:], head_init=head_init)
