"""Characters written with a pen of changing width and counted in blocks, like scikit-learn's digits.

The digits are 32x32 bitmaps that fill their box, counted in blocks of 4x4. Here printed characters are thinned to
their strokes, the strokes are moved (slant, shear, wobble), stretched to the digits' box, inked until as much of the
box is black as in a digit, and counted in the same way.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

#: Fonts that ship with matplotlib: the source network is trained on one family, targets are drawn with the other.
DEJAVU = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
)
STIX = tuple(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta"))
CANVAS = 80  # pixels of a printed character's square
FONT_SIZE = 56
BOX = 32  # pixels of the bitmap whose 4x4 blocks are counted, as in the digits
BLOCK = 4
CHUNK = 2048  # images at once: what stays near the processor is faster

SLANT, TURN, WOBBLE = 0.2, 0.1, 0.05  # standard deviations: shear, radians, parts of the height
WAVES = 3
WIDTH = (15.0, 20.0)  # pixels between the outermost strokes; the digits leave a column free on either side
STRETCH = (0.6, 1.6)  # for glyphs narrower than that
INK = 0.285  # black part of the box, whatever is written: the digits' stroke is stretched with them
INK_SPREAD = 0.025
MARGIN = 1.5  # pixels that the pen adds outside of the outermost strokes


def glyphs(
    characters: Sequence[str], fonts: Sequence[str], per_class: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 8, 8, 1), 16 counts scaled to 0..255, and labels int64 (N,) in order of class.

    Every class has ``per_class`` images, each of a font drawn at random among those that have the character.
    Computed in float64, so that another processor's last bits move a pixel less than once in a million images.
    """
    bank, owner, _ = stroke_bank(characters, fonts)
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(characters)), per_class)
    first = np.searchsorted(owner, labels)
    several = np.searchsorted(owner, labels, side="right") - first
    return drawn(bank, first + generator.integers(several), generator), labels


def prints(
    characters: Sequence[str], fonts: Sequence[str], per_print: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (M, per_print, 8, 8, 1) of every character in every font that has it; both as numbers (M,)."""
    bank, owner, font = stroke_bank(characters, fonts)
    images = drawn(bank, np.repeat(np.arange(len(bank)), per_print), np.random.default_rng(seed))
    return images.reshape(len(bank), per_print, *images.shape[1:]), owner, font


def drawn(bank: np.ndarray, chosen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Images uint8 (N, 8, 8, 1), 16 counts scaled to 0..255, of the chosen (N,) strokes (M, P, 2)."""
    parts = [chosen[start : start + CHUNK] for start in range(0, len(chosen), CHUNK)]
    counts = [block_counts(inked(moved(bank[part], generator), generator)) for part in parts]
    return np.rint(np.concatenate(counts) * (255 / BLOCK**2)).astype(np.uint8)[..., None]


def moved(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Strokes (N, P, 2), each slanted, turned and bent at random, then stretched to the box, in its pixels."""
    many = len(points)
    low, high = points.min(1, keepdims=True), points.max(1, keepdims=True)
    points = (points - (low + high) / 2) / (high - low)[..., 1:]  # height 1
    slant = generator.normal(0, SLANT, many)
    turn = generator.normal(0, TURN, many)
    cos, sin = np.cos(turn), np.sin(turn)
    shear = np.array([[cos, cos * slant - sin], [sin, sin * slant + cos]])
    points = np.einsum("ijn,npj->npi", shear, points, optimize=True)
    for _ in range(WAVES):
        wave = generator.normal(0, 3.0, (many, 2, 1))  # radians per height
        phase = generator.uniform(0, 2 * np.pi, (many, 1))
        push = generator.normal(0, WOBBLE, (many, 1, 2))
        points = points + np.sin((points @ wave)[..., 0] + phase)[..., None] * push
    low, high = points.min(1, keepdims=True), points.max(1, keepdims=True)
    height = BOX - 1 - 2 * MARGIN
    width = generator.uniform(*WIDTH, many)
    natural = height * (high - low)[:, 0, 0] / (high - low)[:, 0, 1]
    width = np.minimum(width, natural * generator.uniform(*STRETCH, many))
    scale = np.stack([width, np.full(many, height)], axis=1)[:, None] / np.maximum(high - low, 1e-3)
    return (points - (low + high) / 2) * scale + (BOX - 1) / 2


def inked(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Bitmaps bool (N, BOX, BOX) of strokes (N, P, 2): the pen widens until a drawn part of the box is black."""
    bitmaps = np.zeros((len(points), BOX, BOX), bool)
    x, y = np.moveaxis(np.clip(np.rint(points).astype(np.int64), 0, BOX - 1), 2, 0)
    bitmaps[np.arange(len(points))[:, None], y, x] = True
    wanted = generator.normal(INK, INK_SPREAD, len(points)) * BOX**2
    active = np.arange(len(points))
    for side in range(BOX):
        part = bitmaps[active]
        there, here = slice(1, None), slice(None, -1)
        if side // 2 % 2:
            there, here = here, there
        if side % 2:
            part[:, there] |= part[:, here].copy()
        else:
            part[:, :, there] |= part[:, :, here].copy()
        bitmaps[active] = part
        active = active[part.sum((1, 2)) < wanted[active]]
    return bitmaps


def block_counts(bitmaps: np.ndarray) -> np.ndarray:
    """Black pixels of each block: uint8 (N, BOX / BLOCK, BOX / BLOCK), 0..16."""
    side = BOX // BLOCK
    return bitmaps.reshape(-1, side, BLOCK, side, BLOCK).sum((2, 4), dtype=np.uint8)


def stroke_bank(characters: Sequence[str], fonts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strokes (M, P, 2), x and y, of every character in every font; classes (M,), ascending, and fonts (M,)."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    masks, owner, drawer = [], [], []
    for number, font in enumerate(fonts):
        path = str(folder / f"{font}.ttf")
        known = FT2Font(path).get_charmap()
        face = ImageFont.truetype(path, FONT_SIZE)
        for label, character in enumerate(characters):
            if ord(character) in known:  # for a character that it lacks a font draws a box
                masks.append(printed(character, face))
                owner.append(label)
                drawer.append(number)
    order = np.argsort(owner, kind="stable")
    strokes = [np.argwhere(mask)[:, ::-1] for mask in skeletons(np.stack(masks)[order])]
    longest = max(len(stroke) for stroke in strokes)
    bank = [np.resize(stroke, (longest, 2)) for stroke in strokes]  # a point that is repeated changes nothing
    return np.array(bank, np.float64), np.array(owner)[order], np.array(drawer)[order]


def printed(character: str, face: ImageFont.FreeTypeFont) -> np.ndarray:
    """One printed character, bool (CANVAS, CANVAS), in the middle of an empty margin."""
    image = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(image).text((CANVAS / 2, CANVAS / 2), character, fill=255, font=face, anchor="mm")
    return np.asarray(image) > 127


def skeletons(masks: np.ndarray) -> np.ndarray:
    """Strokes one pixel thin of masks (M, H, W) with an empty margin (Zhang and Suen, 1984)."""
    code = np.arange(256)
    ring = (code[:, None] >> np.arange(8)) & 1  # neighbours N, NE, E, SE, S, SW, W, NW
    n, e, s, w = ring[:, 0], ring[:, 2], ring[:, 4], ring[:, 6]
    black = ring.sum(1)
    edge = (black >= 2) & (black <= 6) & (((ring == 0) & (np.roll(ring, -1, 1) == 1)).sum(1) == 1)
    tables = (edge & (n * e * s == 0) & (e * s * w == 0), edge & (n * e * w == 0) & (n * s * w == 0))
    shifts = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
    thin = masks.astype(np.uint8)
    active = np.arange(len(thin))
    while len(active):
        part = thin[active]
        before = part.sum((1, 2))
        for table in tables:
            around = np.zeros_like(part)
            for bit, shift in enumerate(shifts):
                around |= np.roll(part, shift, axis=(1, 2)) << bit
            part &= ~table[around]
        thin[active] = part
        active = active[part.sum((1, 2)) < before]
    return thin.astype(bool)
