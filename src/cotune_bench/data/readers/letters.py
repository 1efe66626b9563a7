"""Greek, Cyrillic and mathematical symbols, drawn like the source letters: targets of the desk benchmark."""

from pathlib import Path

import numpy as np

from cotune_bench.backbones.glyphs import STIX, glyphs
from cotune_bench.data.dataset import Dataset, Reader
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache

#: Characters by alphabet, none of them a class of the source; cases that look alike in the same box stand once.
ALPHABETS = {
    "greek": "αβγδεζηθκλμξπσςτυφχψωΓΔΛΞΣΩ",
    "cyrillic": "бвгджзилмнптцчшщъыьэюя",
    "symbols": "∀∂∃∅∇∈∋∏∑√∝∞∠∧∨∩∪∫≈≠≡≤≥⊂⊃⊆⊕⊗⊥⋈",
}
TRAIN, TEST = 40, 100  # images of each character
SEED = 20201206  # the pool and the test images are drawn once; splits and samples come from split_seed
VERSION = 1  # raise it with every change of the drawing


def read(name: str, alphabet: str, cache: Path) -> Dataset:
    """Images uint8 (N, 8, 8, 1), one class a character, in fonts that the source never saw.

    Every character has 40 images for training and validation and 100 for the test. They are drawn when they are first
    asked for and kept in the cache.

    Raises:
        UserError: unknown alphabet.
    """
    if alphabet not in ALPHABETS:
        raise UserError(f"data.alphabet={alphabet} is unknown: choose {', '.join(ALPHABETS)}")
    characters = tuple(ALPHABETS[alphabet])

    def draw() -> dict[str, np.ndarray]:
        pixels, labels = glyphs(characters, STIX, TRAIN + TEST, SEED)
        return {"pixels": pixels, "labels": labels}

    drawn = Cache(cache).get("letters", {"characters": characters, "version": VERSION}, draw)
    position = np.arange(len(drawn["labels"])) % (TRAIN + TEST)
    return Dataset(
        name=name,
        pixels=drawn["pixels"],
        labels=drawn["labels"],
        classes=characters,
        train=np.flatnonzero(position < TRAIN),
        test=np.flatnonzero(position >= TRAIN),
    )


READER = Reader(read)
