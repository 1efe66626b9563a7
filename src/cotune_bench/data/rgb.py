"""Pictures of any kind as red, green and blue of eight bits, the right way up."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

#: What EXIF's orientations ask to be done to the stored pixels, as PIL's ``exif_transpose``; 1 asks for nothing.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> int:
    """EXIF's orientation of a picture, 1 where it names none that can be read; PIL itself turns TIFF files."""
    image.load()  # some formats store it after the pixels
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL raises nearly anything at damaged tags, which take nothing from the pixels
        return 1
    return found if found in TURNS else 1


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey of 16 bits."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")  # PIL gives a PGM's as 32


def as_rgb(image: Image.Image, *, upright: bool = False) -> Image.Image:
    """PIL's ``convert("RGB")``, but grey of 16 bits keeps its upper eight where PIL would clip it to white.

    Args:
        upright: turn the picture as its EXIF orientation asks.

    Raises:
        ValueError: pixel values of unknown range (32 bits, floats), which PIL would clip, too.
    """
    turn = TURNS.get(orientation(image)) if upright else None
    if is_deep(image):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range: save it with 8 or 16 bits")
    rgb = image.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def reason(error: Exception, path: Path) -> str:
    """What PIL says is wrong with a file, in one line that does not repeat its path."""
    first = (str(error).splitlines() or [""])[0]
    return first.replace(f" {str(path)!r}", "") or type(error).__name__
