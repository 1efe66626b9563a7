"""The rules all methods share: schedule, augmentation, test views and split, under one name in every record."""

from dataclasses import dataclass

from cotune_bench.errors import UserError

VIEWS = ("center", "official10", "torchvision10")
CHOICES = {
    "head_init": ("normal", "torch"),
    "augment": ("none", "shift", "resized_crop"),
    "views": VIEWS,
    "resize_mode": ("squash", "short_side"),
    "resize_filter": ("nearest", "bilinear", "bicubic"),
    "split_order": ("split_then_sample", "sample_then_split"),
    "precision": ("auto", "fp32", "tf32", "bf16"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("step", "cosine"),
}


def channels_last(crop: int) -> bool:
    """Whether a network that sees crops of this many pixels computes channels last: smaller maps gain nothing."""
    return crop >= 32


@dataclass(frozen=True)
class Protocol:
    """How a run is trained, split and tested; every value defines the result, but for ``threads``.

    Attributes:
        updates: number of optimiser steps; there are no epochs.
        batch_size: images in one update.
        lr: learning rate of the freshly initialised head.
        backbone_ratio: learning rate of pre-trained weights, relative to ``lr``.
        drop_at: numbers of updates after which the learning rate is multiplied by ``drop_factor``.
        weight_decay: of every trained parameter, unless the method has its own penalty instead.
        head_init: ``normal`` N(0, 0.01) with zero bias, or ``torch``'s default for a linear layer.
        resize: side in pixels of the square that every image becomes first; filter ``resize_filter``.
        resize_mode: ``squash`` gives up the aspect ratio, for training, too; ``short_side`` keeps the central square
            of the image whose shorter side is ``resize``, and ``resized_crop`` then sees the original instead.
        crop: side in pixels of the network's input.
        augment: what is done to training images; ``shift`` pads by ``shift`` pixels and crops at random,
            ``resized_crop`` takes a random part, ``scale`` of the area, and stretches it to the crop.
        views: crops of a test image whose logits are summed.
        val: share of every class's training images that is held out, 0 for none.
        split_order: whether validation images are taken before or after sampling at the rate.
        precision: of the trunk's arithmetic; ``auto`` is bf16 where the device is made for it, else fp32.
        optimizer: ``sgd``, or ``adamw``, of which ``momentum`` is the first beta and 0.999 the second.
        schedule: ``step`` drops the learning rate at ``drop_at``; ``cosine`` lowers it to 0 along half a cosine.
        warmup: share of the updates over which the learning rate rises linearly to its value first.
        label_smoothing: share of every label that is spread evenly over all classes in training.
        mixup: alpha of mixup (Zhang et al., ICLR 2018), which trains on weighted means of two images; 0 for none.
        threads: CPU threads, None for all cores; sums differ in their last bits between thread counts.
    """

    name: str
    updates: int
    batch_size: int
    lr: float
    backbone_ratio: float
    drop_at: tuple[int, ...]
    drop_factor: float
    momentum: float
    nesterov: bool
    weight_decay: float
    head_init: str
    resize: int
    resize_mode: str
    crop: int
    resize_filter: str
    augment: str
    shift: int
    scale: tuple[float, float]
    flip: bool
    views: str
    val: float
    split_order: str
    precision: str = "fp32"
    optimizer: str = "sgd"
    schedule: str = "step"
    warmup: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop_at", tuple(self.drop_at))
        object.__setattr__(self, "scale", tuple(self.scale))
        for name in ("updates", "batch_size", "lr", "resize", "crop"):
            self._require(name, getattr(self, name) > 0, "above 0")
        self._require("drop_factor", 0 < self.drop_factor <= 1, "above 0 and at most 1")
        for name in ("weight_decay", "backbone_ratio", "momentum", "shift", "mixup"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("momentum", self.momentum < 1, "below 1")
        self._require("val", 0 <= self.val <= 0.9, "in [0, 0.9]")
        for name in ("warmup", "label_smoothing"):
            self._require(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        self._require("nesterov", not (self.nesterov and self.optimizer == "adamw"), "false for adamw")
        self._require("crop", self.crop <= self.resize, f"at most resize={self.resize}")
        self._require("drop_at", all(step > 0 for step in self.drop_at), "a list of numbers above 0")
        self._require(
            "scale", len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1, "[a,b], 0 < a <= b <= 1"
        )
        self._require("threads", self.threads is None or self.threads > 0, "above 0, or null for all cores")
        self._require("nesterov", not self.nesterov or self.momentum > 0, "false where momentum is 0")
        for name, choices in CHOICES.items():
            self._require(name, getattr(self, name) in choices, "one of " + ", ".join(choices))

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise UserError(f"protocol.{name}={getattr(self, name)} cannot be used: it must be {rule}")


def views_of(name: str) -> int:
    """Number of views of a test image."""
    return 1 if name == "center" else 10
