"""``protocol=auto``: the length of training from the number of images; docs/own-images.md gives the reasons."""

BATCH = 48
#: Passes over the images that small sets get, and that large ones get at least.
PASSES, LEAST_PASSES = 60, 20
#: Between them the number of updates is the paper's; below, it falls with the images to this many.
MOST, LEAST = 9000, 1500
ROUND = 100
#: Share of the updates after which the rate drops, the paper's 6,000 of 9,000.
DROP = 2 / 3


def updates_for(images: int) -> int:
    """Number of updates of 48 images for a training set of this size."""
    wanted = min(max(images * PASSES / BATCH, LEAST), MOST)
    return ROUND * round(max(wanted, images * LEAST_PASSES / BATCH) / ROUND)


def drop_after(updates: int) -> list[int]:
    """After how many updates the learning rate drops."""
    return [max(round(DROP * updates), 1)]
