"""People's own photos are seen the right way up, from training to prediction; published images as they are stored."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trees
from kept_runs import FOLDER, put_pets, train
from PIL import Image, ImageOps

import cotune_bench as cb
from cotune_bench.config import compose_config, run_key
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.decode import Originals, decode
from cotune_bench.data.readers import eurosat, folder, imagelist
from cotune_bench.data.rgb import as_rgb, orientation
from cotune_bench.inference.kept_network import TEXT, Kept
from cotune_bench.inference.labelled_images import labelled_images
from cotune_bench.inference.predict import Predictor, predict_files

STORED = [[1, 2, 3], [4, 5, 6]]
#: What is to be shown, worked out from the sides that EXIF names as the top row and the first column.
SHOWN = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


def tag(way: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = way
    return exif


def photos(root: Path, ways: tuple[int, ...]) -> tuple[str, ...]:
    """Pictures of noise with these orientations."""
    for row, way in enumerate(ways):
        pixels = np.random.default_rng(row).integers(0, 256, (30, 44 + row, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{row}.jpg", exif=tag(way))
    return tuple(f"{row}.jpg" for row in range(len(ways)))


def own_list(root: Path, files: tuple[str, ...], *, upright: bool = True) -> ImageList:
    rows = np.arange(len(files))
    split = {"train": rows[:1], "test": rows[1:]}
    return ImageList(name="own", labels=0 * rows, classes=("a",), **split, root=root, files=files, upright=upright)


@pytest.mark.parametrize("way", SHOWN)
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_every_orientation_is_shown_as_exif_asks(tmp_path, way, ending):
    grey = Image.fromarray(10 * np.array(STORED, dtype=np.uint8))
    grey.convert("RGB").save(tmp_path / f"a.{ending}", exif=tag(way), lossless=True)
    with Image.open(tmp_path / f"a.{ending}") as image:
        shown = np.asarray(as_rgb(image, upright=True))
    np.testing.assert_array_equal(shown, np.repeat(10 * np.array(SHOWN[way])[..., None], 3, axis=2))
    if ending != "tif":  # which PIL always turns
        with Image.open(tmp_path / f"a.{ending}") as image:
            np.testing.assert_array_equal(np.asarray(as_rgb(image))[..., 0], 10 * np.array(STORED))


@pytest.mark.parametrize("exif", [b"Exif\0\0no tags at all", tag(9).tobytes(), tag(0).tobytes()])
def test_unusable_tags_leave_a_picture_as_it_is(exif):
    file = io.BytesIO()
    Image.new("RGB", (4, 6)).save(file, "JPEG", exif=exif)
    with Image.open(file) as image:
        assert orientation(image) == 1
        assert as_rgb(image, upright=True).size == (4, 6)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("upright", [True, False])
def test_pixels_are_those_of_exif_transpose(tmp_path, cached, upright):
    images = own_list(tmp_path, photos(tmp_path, (1, 6, 3, 7, 8)), upright=upright)
    cache = tmp_path / "cache" if cached else None
    squares = decode(images, resize=16, resize_filter="bicubic", folder=cache).pixels[np.arange(5)]
    for row, original in enumerate(Originals(images)[np.arange(5)]):
        with Image.open(tmp_path / images.files[row]) as image:
            whole = (ImageOps.exif_transpose(image) if upright else image).convert("RGB")
        np.testing.assert_array_equal(original, np.asarray(whole))
        np.testing.assert_array_equal(squares[row], np.asarray(whole.resize((16, 16), Image.Resampling.BICUBIC)))


def test_a_photo_that_is_turned_later_is_decoded_again(tmp_path):
    def seen(**options) -> np.ndarray:
        images = own_list(tmp_path, ("0.jpg", "1.jpg"), **options)
        return decode(images, resize=16, resize_filter="bicubic", folder=tmp_path / "cache").pixels[np.arange(2)]

    photos(tmp_path, (1, 1))
    before, size = seen(), os.path.getsize(tmp_path / "1.jpg")
    photos(tmp_path, (1, 6))
    assert os.path.getsize(tmp_path / "1.jpg") == size
    np.testing.assert_array_equal(seen(upright=False), before)
    assert (seen()[0] == before[0]).all()
    assert (seen()[1] != before[1]).any()


def test_people_s_own_images_are_turned_and_published_ones_never(tmp_path):
    root = put_pets(tmp_path / "pets", count=3)
    assert folder.read("pets", str(root)).upright
    (root / "train.txt").write_text("cat/0.png 0\ndog/0.png 1\n")
    (root / "test.txt").write_text("cat/1.png 0\ndog/1.png 1\n")
    assert imagelist.read("pets", str(root), "train.txt", "test.txt").upright
    assert not eurosat.read("eurosat", str(trees.eurosat(tmp_path))).upright


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Kept, Kept]:
    """The same run on upright pictures, and on the same as a phone would have stored them, most on their side."""
    place = tmp_path_factory.mktemp("runs")
    for number, path in enumerate(sorted(put_pets(place / "pets").rglob("*.png"))):
        way, angle = ((1, 0), (6, 90), (8, 270))[number % 3]
        stored = place / "phone" / path.relative_to(place / "pets")
        stored.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.rotate(angle, expand=True).save(stored, exif=tag(way))
    rest = ["method=finetune", "protocol.lr=0.1"]
    one, two = (
        train(place / f"{name}-run", *FOLDER, f"data.root={place / name}", *rest) for name in ("pets", "phone")
    )
    return one, two


def test_a_run_on_turned_photos_is_that_on_upright_pictures(runs):
    upright, phone = runs
    assert phone.card["accuracy"] == upright.card["accuracy"]
    torch.testing.assert_close(phone.method().state_dict(), upright.method().state_dict())
    assert "turned as EXIF asks" in (phone.folder / TEXT).read_text(encoding="utf-8")


def test_new_photos_are_seen_as_the_run_s_own_were(runs, tmp_path):
    _, phone = runs
    images, cpu = labelled_images(phone), torch.device("cpu")
    assert isinstance(images, ImageList)
    photo = next(Path(images.root, file) for file in images.files if orientation(Image.open(images.root / file)) == 6)
    with Image.open(photo) as image:
        ImageOps.exif_transpose(image).save(tmp_path / "upright.png")
        image.save(tmp_path / "stored.png", exif=b"")
    files = [photo, tmp_path / "upright.png", tmp_path / "stored.png"]
    _, seen, _ = predict_files(Predictor.of(phone, cpu), files)
    torch.testing.assert_close(seen.logits[0], seen.logits[1])
    assert not torch.allclose(seen.logits[0], seen.logits[2])


def test_exif_orientation_does_not_change_the_record_key(tmp_path):
    """It is in the fingerprint of the data, which tables compare."""
    pets = put_pets(tmp_path / "pets", count=3)
    before = run_key(compose_config([*FOLDER, f"data.root={pets}"]))
    Image.open(pets / "cat/0.png").save(pets / "cat/0.png", exif=tag(6))
    assert run_key(compose_config([*FOLDER, f"data.root={pets}"])) == before


def test_photos_given_to_the_api_are_turned_as_its_data_are(tmp_path, monkeypatch):
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))
    pets = put_pets(tmp_path / "pets")
    backbone = cb.load_backbone("resnet18", weights="random")
    protocol = cb.load_protocol("paper", updates=1, drop_at=[1], batch_size=4, resize=40, crop=32)
    data = cb.load_data("folder", backbone, root=str(pets), protocol=protocol)
    fitted = cb.Fitted(cb.FineTune(backbone, 3), data)
    with Image.open(pets / "eel/0.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=tag(6))
    seen = fitted.predict([pets / "eel/0.png", tmp_path / "turned.png"])
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-5)
