"""Fine-tuning of the last k residual blocks and the head."""

from cotune_bench.backbones.base import Backbone
from cotune_bench.data.task import Classification
from cotune_bench.methods.layer_subset import LayerSubset, require_blocks, require_count


class LastK(LayerSubset):
    """Cross-entropy; everything before the last ``k`` blocks is frozen."""

    def __init__(
        self, backbone: Backbone, num_classes: int | Classification, *, k: int = 1, head_init: str | None = None
    ) -> None:
        blocks = require_blocks(backbone, "last_k")
        require_count(1, blocks, backbone, k=k)
        super().__init__(backbone, num_classes, blocks[-k:], head_init=head_init)
