"""Pictures of any kind as red, green and blue of eight bits, and why a file is none."""

from pathlib import Path

import numpy as np
from PIL import Image


def as_rgb(image: Image.Image) -> Image.Image:
    """PIL's ``convert("RGB")``, but grey of 16 bits keeps its upper eight where PIL would clip it to white.

    Raises:
        ValueError: the pixels are numbers of no known range (32 bits, floats), which PIL would clip, too.
    """
    # PIL gives a PGM of 16 bits as 32
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range: save it with 8 or 16 bits")
    return image.convert("RGB")


def reason(error: Exception, path: Path) -> str:
    """What PIL says is wrong with a file, in one line that does not repeat its path."""
    first = (str(error).splitlines() or [""])[0]
    return first.replace(f" {str(path)!r}", "") or type(error).__name__
