"""The size of a data set and the pace of a method on it, which plans multiply; without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Numbers of classes and images of a data set, its colour channels, and a note on their origin."""

    classes: int
    train: int
    val: int
    test: int
    channels: int
    fitting: bool  # pixels that are used as they are, so that none are decoded
    note: str


@dataclass(frozen=True)
class Pace:
    """Seconds of an update and of one view of an image in evaluation, and bytes of a checkpoint.

    ``prepare``: estimated seconds of the work that a method does once for a data set, from the time of a view.
    """

    update: float
    view: float
    checkpoint: int
    device: str
    prepare: float = 0.0
