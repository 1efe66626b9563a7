"""Checks of what a reader found, and the yaml files that call the readers."""

from pathlib import Path

import pytest
import trees
from omegaconf import OmegaConf
from trees import refused

from cotune_bench.config import CONF, build
from cotune_bench.data.dataset import ImageList
from cotune_bench.data.readers import aircraft, cars, cifar100, coco70, cub, eurosat, flowers, indoors
from cotune_bench.data.readers.common import missing_files, problems, require_files

# Checks -------------------------------------------------------------------------------------------------------------


def test_problems_are_wrong_counts_and_missing_and_broken_images(tmp_path):
    assert problems(cub.read("cub", str(trees.cub(tmp_path))), {"classes": 2, "train": 3, "test": 2}) == []
    wren = tmp_path / "images/002.Wren"
    content = trees.put_image(wren / "w1.jpg", size=(200, 200)).read_bytes()
    (wren / "w1.jpg").write_bytes(content[:-300])  # cut within the pixels: it opens, but cannot be decoded
    (wren / "w2.jpg").unlink()
    data = cub.read("cub", str(tmp_path))
    found = problems(data, cub.READER.official)
    assert found[:-1] == [
        *("classes: 2 instead of 200", "train: 3 instead of 5994", "test: 2 instead of 5794"),
        "1 images are missing, first images/002.Wren/w2.jpg",
    ]
    assert found[-1].startswith("1 images cannot be decoded, first images/002.Wren/w1.jpg (")
    assert "truncated" in found[-1]
    assert problems(data, {}, images=False) == found[3:4]


def test_a_missing_file_is_reported_with_the_visible_content_of_its_folder(tmp_path):
    trees.put_lines(tmp_path / ".cub.lock", [])
    trees.put_lines(tmp_path / "birds.tgz", [])
    refused(lambda: cub.read("cub", str(tmp_path / "CUB_200_2011")), f"({tmp_path} holds birds.tgz)")
    refused(lambda: cub.read("cub", "/nowhere/CUB"), "/nowhere/CUB/images.txt is missing (there is no /nowhere):")


def test_a_run_stops_where_images_are_missing(tmp_path):
    data = cub.read("cub", str(trees.cub(tmp_path)))
    require_files(data)
    (tmp_path / "images/002.Wren/w2.jpg").unlink()
    refused(lambda: require_files(data), "1 of 5 images", "images/002.Wren/w2.jpg")


# Yaml files ---------------------------------------------------------------------------------------------------------

TREES = {
    "cub": trees.cub,
    "cars": trees.cars,
    "aircraft": trees.aircraft,
    "coco70": trees.coco70,
    "flowers": trees.flowers,
    "indoors": trees.indoors,
    "eurosat": trees.eurosat,
    "cifar100": lambda root: trees.cifar_binary(root / "cifar-100-binary"),
    "folder": lambda root: trees.folders(root, {"cat": 2, "dog": 2}),
    "imagelist": trees.tllib,
}


@pytest.mark.parametrize("name", TREES)
def test_yaml_finds_the_data_set_where_its_archive_puts_it(tmp_path, name):
    section = OmegaConf.load(CONF / "data" / f"{name}.yaml")
    assert section.pop("defaults")
    config = OmegaConf.create(
        {"data_root": str(tmp_path), "rate": 0.15, "split_seed": 0, "cache": str(tmp_path / "cache")}
    )
    config.data = section
    TREES[name](Path(config.data.root))
    data = build(config.data)
    assert data.name == name
    assert not isinstance(data, ImageList) or not missing_files(data)


@pytest.mark.parametrize("module", [cub, cars, aircraft, coco70, flowers, indoors, eurosat, cifar100])
def test_the_page_of_data_sets_has_the_official_numbers(module):
    name = module.__name__.rpartition(".")[2]
    page = (Path(__file__).parents[1] / "docs/data/README.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    numbers = [
        int(cell.strip().replace(",", "")) for cell in row.split("|") if cell.strip().replace(",", "").isdigit()
    ]
    official = module.READER.official
    assert numbers == [official[part] for part in ("classes", "train", "val", "test") if part in official]
