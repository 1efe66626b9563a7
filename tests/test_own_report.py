"""One's own images: names, the protocol that follows their number, and the report before training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kept_runs import put_pets
from PIL import Image
from trees import refused

from cotune_bench import cli
from cotune_bench.config import compose_config, own_images, run_config, run_key
from cotune_bench.config.overrides import path_override, readable
from cotune_bench.data import scan
from cotune_bench.data.quality import report
from cotune_bench.data.rgb import as_rgb
from cotune_bench.storage.cache import Cache

SMALL = (
    *("method=finetune", "data=folder", "backbone=resnet18", "backbone.weights=random", "protocol.updates=2"),
    *("protocol.batch_size=8", "protocol.resize=40", "protocol.crop=32", "protocol.threads=1", "device=cpu"),
)


@pytest.mark.parametrize(
    ("name", "called"), [("Meine Blumen!", "Meine-Blumen"), ("flowers", "my-flowers"), ("...", "images")]
)
def test_a_data_set_is_called_after_its_folder_and_never_like_a_published_one(tmp_path, name, called):
    assert own_images.folder_name(str(tmp_path / name / ".." / name)) == called


def test_another_name_is_another_run_and_must_name_files(here):
    put_pets(here / "pets")
    asked = [*SMALL, "data.root=pets"]
    assert compose_config(asked).data.name == "pets"
    assert run_key(compose_config([*asked, "data.name=zoo"])).startswith("zoo-finetune-rate1-seed0-")
    refused(lambda: compose_config([*asked, "data.name=cub"]), "published data set")
    refused(lambda: compose_config([*asked, "data.name=a/b"]), "names files")
    refused(lambda: compose_config(["data=digits", "data.name=zoo"]), "data=NAME")
    refused(lambda: compose_config([*asked, "data.skipbad=true"]), "did you mean data.skip_bad?")


@pytest.mark.parametrize("name", ["a (b)", "it's", "ü, ö", "a=b", "$x {y}", "back\\'s"])
def test_paths_may_contain_any_character(here, name):
    put_pets(here / name, count=3)
    config = compose_config([*SMALL, path_override("data.root", here / name)])
    assert Path(config.data.root) == here / name
    if "," not in name:  # which sweeps
        assert Path(compose_config([*SMALL, f"data.root={here / name}"]).data.root) == here / name


def test_a_home_folder_is_found_although_the_shell_leaves_it(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert readable("data.root=~/pets") == f"data.root='{here}/pets'"
    assert readable("method=~/pets") == "method=~/pets"


@pytest.mark.parametrize(
    ("images", "updates"),
    [
        (20, 1500),  # the least
        (2000, 2500),  # 60 passes in batches of 48
        (7200, 9000),
        (20_000, 9000),  # the paper's number
        (48_000, 20_000),  # 20 passes
    ],
)
def test_updates_follow_the_number_of_images(images, updates):
    assert own_images.updates_for(images) == updates


def test_auto_is_resolved_in_the_configuration_and_in_the_key(here):
    put_pets(here / "pets")
    asked = ["data=folder", "data.root=pets"]
    config, shorter = compose_config(asked), compose_config([*asked, "protocol.updates=300"])
    resolved = run_config(config)["protocol"]
    assert (resolved["name"], resolved["updates"], resolved["drop_at"]) == ("auto", 1500, [1000])
    # 10 of each of 3 classes, a fifth tested
    assert own_images.auto_line(config).startswith(
        "protocol auto: 24 training and validation images, so 1,500 updates of 48 (3,000 passes over them), "
    )
    assert run_config(shorter)["protocol"]["drop_at"] == [200]
    assert run_key(shorter) != run_key(config)
    refused(lambda: compose_config(["data=imagelist", "protocol=auto"]), "data.sampled=false")
    refused(lambda: compose_config(["data=folder", f"data.root={here / 'none'}"]), "none is missing")


def test_near_identical_are_copies_in_another_size_or_quality_and_no_others(here):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    large = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
    for number, picture in enumerate((large, large.resize((48, 48), Image.Resampling.BICUBIC), large.rotate(90))):
        picture.save(here / f"{number}.png")
    large.save(here / "3.jpg", quality=70)
    for name in ("4.png", "5.png"):  # plain ones are not compared
        Image.new("L", (9, 9), 200).save(here / name)
    files = ["0.png", "1.png", "2.png", "3.jpg", "4.png", "5.png"]
    looks, rows = scan.look(here, files, Cache(here / "cache")), np.arange(len(files))
    pairs = scan.near_identical(looks, rows, rows)
    assert sorted((a, b) for a, b in pairs if a < b) == [(0, 1), (0, 3), (1, 3)]


def test_a_report_names_every_problem_in_one_line_each(here):
    for part, count in {"train": 6, "test": 2}.items():
        put_pets(here / "pets" / part, count=count)
    for number in range(60):
        put = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(put).save(here / f"pets/train/dog/extra{number}.png")
    shutil.copy(here / "pets/train/cat/3.png", here / "pets/test/eel/copy.png")
    (here / "pets/test/cat/notes.txt").write_text("")
    for path in (here / "pets/test").glob("*/[01].png"):  # put_pets draws the same ones in both parts
        Image.fromarray(np.random.default_rng(7 + len(str(path))).integers(0, 256, (9, 9), dtype=np.uint8)).save(path)
    tag = Image.Exif()
    tag[0x0112] = 6  # to be shown turned by 90 degrees
    Image.open(here / "pets/train/cat/0.png").save(here / "pets/train/cat/0.png", exif=tag)
    assert report(compose_config([*SMALL, "data.root=pets"])) == [
        "data pets: pets, 3 classes, 78 training, 7 test images; 6 to 66 training images in a class (median 6)",
        "data pets: turned upright, as EXIF asks: 1 file (train/cat/0.png)",
        "warning: left out, no images by their endings: 1 file (test/cat/notes.txt)",
        "warning: fewer than 10 training images: 2 classes (cat (6), eel (6)); their accuracy will be a guess",
        "warning: uneven classes: dog has 11 times the images of cat; accuracy follows the large",
        "warning: near-identical images in train and test (difference hash, at most 4 of 64 bits apart; 1 of them "
        "the same file): 1 pair (train/cat/3.png ~ test/eel/copy.png); look at them: copies make test accuracy too "
        "high",
    ]


def test_unreadable_files_stop_a_run_and_can_be_left_out_which_the_record_says(here, capsys):
    put_pets(here / "pets")
    (here / "pets/cat/0.png").write_bytes(b"no picture")
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(here / "pets/eel/a.tif")
    whole = (here / "pets/dog/1.png").read_bytes()
    (here / "pets/dog/1.png").write_bytes(whole[: len(whole) // 2])
    assert cli.main([*SMALL, "data.root=pets"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: data pets: 3 files (")
    for fragment in ("cat/0.png (cannot identify", "dog/1.png (", "a.tif (pixels of mode F", "data.skip_bad=true"):
        assert fragment in line
    assert not (here / "results").exists()

    assert cli.main([*SMALL, "data.root=pets", "data.skip_bad=true"]) == 0
    err = capsys.readouterr().err
    assert "warning: left out, cannot be read: 3 files (cat/0.png, dog/1.png, eel/a.tif)" in err
    assert "1,500 updates by the rule, as asked 2 updates of 8" in err
    (path,) = (here / "results/records").iterdir()
    record = json.loads(path.read_text())
    assert record["environment"]["unreadable_left_out"] == 3
    assert record["train_images"] + record["test_images"] == 28 - 3  # 28 are left, of which 3 validate
    assert cli.main([*SMALL, "data.root=pets", "data.skip_bad=true"]) == 0
    assert capsys.readouterr().err == ""  # finished before: no report

    for path in (here / "pets/eel").iterdir():
        path.write_bytes(b"")
    skipping = compose_config([*SMALL, "data.root=pets", "data.skip_bad=true"])
    refused(lambda: report(skipping), "eel holds no readable images")


def test_a_sweep_reports_a_folder_once(here, capsys):
    put_pets(here / "one", count=4)
    assert cli.main(["-m", *SMALL, "data.root=one", "seed=0,1"]) == 0
    assert capsys.readouterr().err.count("data one: ") == 1
    assert len(list((here / "results/records").iterdir())) == 2


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_grey_of_16_bits_keeps_its_upper_eight(here, ending):
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    path = here / f"a.{ending}"
    if ending == "pgm":
        path.write_bytes(b"P5 64 64 65535 " + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    with Image.open(path) as image:
        seen = np.asarray(as_rgb(image))
    np.testing.assert_array_equal(seen, np.repeat((values // 256)[..., None], 3, axis=2))


def test_folders_one_level_off_are_refused_with_the_right_one(here):
    put_pets(here / "zip/pets", count=3)
    refused(lambda: report(compose_config([*SMALL, "data.root=zip"])), "did you mean zip/pets?")
    put_pets(here / "part/train", count=3)
    refused(lambda: report(compose_config([*SMALL, "data.root=part"])), "or let data.root=part/train set a part")
