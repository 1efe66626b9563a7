"""Small data sets on disk, in the layouts in which the real ones are found; every builder returns its folder."""

import hashlib
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from cotune_bench.data.dataset import ImageList
from cotune_bench.data.tfrecord import masked_checksum
from cotune_bench.errors import UserError


def put_image(path: Path, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Path:
    """One small image, with the folders above it; its colour hangs on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = sum(path.as_posix().encode()) % 256
    Image.new(mode, size, value if mode == "L" else (value, 255 - value, 128)).save(path)
    return path


def put_lines(path: Path, lines: Sequence[str]) -> Path:
    """A text file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def folders(root: Path, counts: Mapping[str, int]) -> Path:
    """``counts[folder]`` images in every folder: ``{"train/cat": 2}``."""
    for folder, count in counts.items():
        for number in range(1, count + 1):
            put_image(root / folder / f"{number:03d}.jpg")
    return root


def cub(root: Path) -> Path:
    """2 kinds of birds: images 1, 2, 4 train (labels 0, 0, 1), 3 and 5 test (labels 0, 1); image 2 is grey."""
    files = [
        "001.Albatross/a 1.jpg",
        "001.Albatross/a2.jpg",
        "001.Albatross/a3.jpg",
        "002.Wren/w1.jpg",
        "002.Wren/w2.jpg",
    ]
    for number, file in enumerate(files):
        put_image(root / "images" / file, mode="L" if number == 1 else "RGB")
    put_lines(root / "images.txt", [f"{number} {file}" for number, file in enumerate(files, 1)])
    put_lines(root / "image_class_labels.txt", ["1 1", "2 1", "3 1", "4 2", "5 2"])
    put_lines(root / "train_test_split.txt", ["1 1", "2 1", "3 0", "4 1", "5 0"])
    put_lines(root / "classes.txt", ["1 001.Albatross", "2 002.Wren"])
    return root


CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012")


def annotations(rows: Sequence[tuple], fields: Sequence[str]) -> np.ndarray:
    """A Matlab struct array as scipy writes it."""
    return np.array([tuple(row) for row in rows], dtype=[(field, object) for field in fields])


def cars(root: Path, *, nested: bool = False, labels: str = "cars_test_annos_withlabels.mat", train: int = 4) -> Path:
    """3 cars; ``train`` images with labels 0, 1, 2, 0, ... and 3 test images with labels 2, 1, 0.

    ``nested`` repeats the image folders, as on Kaggle; ``labels`` is where the test labels are, "" for nowhere.
    """
    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    box = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    kinds = {"train": [number % 3 + 1 for number in range(train)], "test": [3, 2, 1]}
    for part, classes in kinds.items():
        rows = [(1, 2, 3, 4, kind, f"{number:05d}.jpg") for number, kind in enumerate(classes, 1)]
        for row in rows:
            put_image(root / f"cars_{part}" / (f"cars_{part}" if nested else "") / row[-1])
        content = {"annotations": annotations(rows, (*box, "class", "fname"))}
        if part == "train":
            savemat(devkit / "cars_train_annos.mat", content)
        elif labels:
            savemat(root / labels, content)
    bare = annotations([(1, 2, 3, 4, f"{number:05d}.jpg") for number in (1, 2, 3)], (*box, "fname"))
    savemat(devkit / "cars_test_annos.mat", {"annotations": bare})
    savemat(devkit / "cars_meta.mat", {"class_names": np.array(CARS, dtype=object)})
    return root


def cars_archive(root: Path) -> Path:
    """The single archive: 3 training images with labels 0, 1, 2, and 2 test images with labels 1, 2."""
    rows = [
        (f"car_ims/{number:06d}.jpg", 1, 2, 3, 4, kind, test)
        for number, (kind, test) in enumerate([(1, 0), (2, 1), (2, 0), (3, 0), (3, 1)], 1)
    ]
    for row in rows:
        put_image(root / row[0])
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    content = {"annotations": annotations(rows, fields), "class_names": np.array(CARS, dtype=object)}
    savemat(root / "cars_annos.mat", content)
    return root


def aircraft(root: Path) -> Path:
    """2 variants, one with a slash and one with a space; 2 train, 2 val and 2 test images."""
    data = root / "data"
    parts = {
        "train": ["0000001 F-16A/B", "0000002 Cessna 172"],
        "val": ["0000003 Cessna 172", "0000004 F-16A/B"],
        "test": ["0000005 F-16A/B", "0000006 Cessna 172"],
    }
    put_lines(data / "variants.txt", ["Cessna 172", "F-16A/B"])
    for part, lines in {**parts, "trainval": parts["train"] + parts["val"]}.items():
        put_lines(data / f"images_variant_{part}.txt", lines)
        for line in lines:
            put_image(data / "images" / f"{line[:7]}.jpg", size=(40, 50))
    return root


def coco70(root: Path, *, prefixed: bool = False) -> Path:
    """The authors' release with 2 classes, "person" and "train": 4 train, 2 dev and 2 test images.

    ``prefixed`` names files from the top (train/...), not from the folder of their part.
    """
    put_lines(root / "classes.txt", ["person", "train"])
    for part, count in {"train": 4, "dev": 2, "test": 2}.items():
        files = [f"{('person', 'train')[number % 2]}/{part}_{number}.jpg" for number in range(count)]
        for file in files:
            put_image(root / part / file)
        prefix = f"{part}/" if prefixed else ""
        put_lines(root / f"{part}.txt", [f"{prefix}{file} {number % 2}" for number, file in enumerate(files)])
    return root


def tllib(root: Path) -> Path:
    """Lists as in TLlib: 2 classes of 4 training images, 1 of them at 15 % and 2 at 50 %, and 1 test image."""
    images = {}
    for part, count in {"train": 4, "test": 1}.items():
        images[part] = [f"{part}/{kind}/img {number}.jpg {kind}" for number in range(count) for kind in (0, 1)]
    for line in images["train"] + images["test"]:
        put_image(root / line[:-2])
    for percent, count in {15: 2, 50: 4, 100: 8}.items():
        put_lines(root / "image_list" / f"train_{percent}.txt", images["train"][:count])
    put_lines(root / "image_list" / "test.txt", images["test"])
    return root


def flowers(root: Path) -> Path:
    """2 flowers, 6 images with labels 0, 0, 0, 1, 1, 1; trnid 1 4, valid 2 5, tstid 3 6."""
    for number in range(1, 7):
        put_image(root / "jpg" / f"image_{number:05d}.jpg")
    savemat(root / "imagelabels.mat", {"labels": np.array([[1, 1, 1, 2, 2, 2]])})
    savemat(root / "setid.mat", {"trnid": [[1, 4]], "valid": [[2, 5]], "tstid": [[3, 6]]})
    return root


def indoors(root: Path) -> Path:
    """2 rooms: 3 training images with labels 0, 0, 1 and 2 test images with labels 1, 0; one more is unused."""
    train = ["attic/a 1.jpg", "attic/a2.jpg", "bar/b1.jpg"]
    test = ["bar/b2.jpg", "attic/a3.jpg"]
    for file in [*train, *test, "bar/unused.jpg"]:
        put_image(root / "Images" / file)
    put_lines(root / "TrainImages.txt", train)
    put_lines(root / "TestImages.txt", test)
    return root


def sketches(root: Path) -> Path:
    """2 kinds of objects, 5 grey drawings of each; the archive's list of files beside them."""
    for kind in ("airplane", "alarm clock"):
        for number in range(1, 6):
            put_image(root / "png" / kind / f"{number}.png", mode="L")
    put_lines(root / "png" / "filelist.txt", ["airplane/1.png"])
    return root


def wikiart(root: Path, lists: str = "wikiart_csv") -> Path:
    """3 styles and 2 artists; 3 images train and 2 test by style, 2 and 1 by artist; there is no list of genres."""
    tasks = {
        "style": (
            ["Baroque/a_1.jpg,0", "Impressionism/b-(1).jpg,1", "Ukiyo_e/c.jpg,2"],
            ["Baroque/a_2.jpg,0", "Ukiyo_e/grã©g.jpg,2"],
            ["0 Baroque", "1 Impressionism", "2 Ukiyo_e"],
        ),
        "artist": (["Baroque/a_1.jpg,1", "Baroque/a_2.jpg,1"], ["Impressionism/b-(1).jpg,0"], ["0 Bea", "1 Ada_A"]),
    }
    for line in [*tasks["style"][0], *tasks["style"][1]]:
        put_image(root / line.rpartition(",")[0])
    for task, (train, test, classes) in tasks.items():
        for part, rows in {"train.csv": train, "val.csv": test, "class.txt": classes}.items():
            put_lines(root / lists.format(task) / f"{task}_{part}", rows)
    return root


LAND = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
        "Pasture", "PermanentCrop", "Residential", "River", "SeaLake")  # fmt: skip


def eurosat(root: Path, per_class: int = 5) -> Path:
    """The 10 kinds of land, ``per_class`` images each."""
    for kind in LAND:
        for number in range(1, per_class + 1):
            put_image(root / "2750" / kind / f"{kind}_{number}.jpg", size=(64, 64))
    return root


def dmlab(root: Path, count: int = 3) -> Path:
    """TFRecord files of three parts in ``records``, ``count`` images each, the last part in two files."""
    for part, shards in (("train", [""]), ("validation", [""]), ("test", ["-00000-of-00002", "-00001-of-00002"])):
        for shard in shards:
            image = put_image(root / "made" / f"{part}.jpg", size=(48, 36)).read_bytes()
            content = b"".join(tfrecord(example(image, b"a/b.jpg", label)) for label in range(count))
            path = root / "records" / f"dmlab-{part}.tfrecord{shard}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def tfrecord(data: bytes) -> bytes:
    """A record of a TFRecord file."""
    head = struct.pack("<Q", len(data))
    return b"".join(
        [head, *(struct.pack("<I", masked_checksum(head)), data, struct.pack("<I", masked_checksum(data)))]
    )


def example(image: bytes, filename: bytes, label: int) -> bytes:
    """A serialised tf.train.Example."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    def entry(name: str, kind: int, values: bytes) -> bytes:
        return field(1, field(1, name.encode()) + field(2, field(kind, values)))

    entries = entry("image", 1, field(1, image)) + entry("filename", 1, field(1, filename))
    return field(1, entries + entry("label", 3, field(1, bytes([label]))))


def cifar_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pixels (n, 3072) as in the files and labels (n,) of 3 training and 2 test images of 2 classes."""
    rng = np.random.default_rng(0)
    labels = {"train": np.array([1, 0, 1], dtype=np.uint8), "test": np.array([0, 1], dtype=np.uint8)}
    return {part: (rng.integers(0, 256, (len(y), 3072), dtype=np.uint8), y) for part, y in labels.items()}


def cifar_binary(root: Path) -> Path:
    """The binary version."""
    put_lines(root / "fine_label_names.txt", ["apple", "aquarium_fish"])
    for part, (pixels, labels) in cifar_images().items():
        coarse = np.full_like(labels, 9)
        (root / f"{part}.bin").write_bytes(np.column_stack([coarse, labels, pixels]).tobytes())
    return root


def cifar_python(root: Path) -> Path:
    """The Python version."""
    root.mkdir(parents=True, exist_ok=True)
    contents: dict[str, dict] = {"meta": {"fine_label_names": ["apple", "aquarium_fish"]}}
    for part, (pixels, labels) in cifar_images().items():
        contents[part] = {"data": pixels, "fine_labels": labels.tolist(), "coarse_labels": [9] * len(labels)}
    for file, content in contents.items():
        (root / file).write_bytes(pickle.dumps(content, protocol=2))
    return root


def cifar_sums(root: Path) -> dict[str, Any]:
    """The md5 of these files, where torchvision states those of the published ones."""
    md5 = {file: hashlib.md5((root / file).read_bytes()).hexdigest() for file in ("train", "test", "meta")}  # noqa: S324
    meta = {"filename": "meta", "key": "fine_label_names", "md5": md5["meta"]}
    return {"train_list": [["train", md5["train"]]], "test_list": [["test", md5["test"]]], "meta": meta}


def parts(data: ImageList) -> dict[str, list[tuple[str, int]]]:
    """(file, label) of every part."""
    index = {"train": data.train, "val": data.val, "test": data.test}
    return {
        part: [(data.files[i], int(data.labels[i])) for i in rows] for part, rows in index.items() if rows is not None
    }


def refused(call, *fragments: str) -> str:
    """The one line in which a call refuses its input; it must hold these fragments."""
    with pytest.raises(UserError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    for fragment in fragments:
        assert fragment in text
    return text
