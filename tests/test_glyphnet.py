"""The glyph backbone: its parts, its cache, and that it is the same each time."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from cotune_bench.backbones import glyphnet
from cotune_bench.backbones.base import tap
from cotune_bench.errors import UserError

CONF = Path(__file__).parent.parent / "conf" / "backbone" / "glyphnet.yaml"
TINY: dict[str, Any] = {
    "weights": "glyphs",
    "widths": [16, 16, 32],
    "per_class": 2,
    "updates": 3,
    "batch_size": 64,
    "lr": 0.05,
    "weight_decay": 5e-4,
    "seed": 0,
    "threads": 1,
}


def shipped(**changes) -> dict[str, Any]:
    values = yaml.safe_load(CONF.read_text()) | changes
    assert values.pop("_target_") == "cotune_bench.backbones.glyphnet.load"
    return values


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return folder, glyphnet.load("tiny", folder, **TINY)


def only_file(folder: Path) -> Path:
    (path,) = (folder / "glyphnet").glob("*.npz")
    return path


def test_the_shipped_yaml_binds_and_random_weights_need_no_cache(tmp_path):
    backbone = glyphnet.load(cache=tmp_path, **shipped(weights="random"))
    assert backbone.info.weights == "random"
    assert backbone.info.temperature == 1.0
    assert not list(tmp_path.iterdir())
    children = ["conv1", "bn1", "relu", "layer1", "layer2", "layer3", "avgpool", "flatten"]
    assert list(dict(backbone.trunk.named_children())) == children
    assert backbone.blocks == ("layer1.0", "layer2.0", "layer3.0")
    assert backbone.taps == ("layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2")
    assert len(backbone.info.classes) == backbone.source_head.out_features
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 85_034


def test_stages_halve_the_image(tmp_path):
    backbone = glyphnet.load("tiny", tmp_path, **TINY | {"weights": "random"})
    with tap(backbone.trunk, backbone.blocks) as outputs:
        assert backbone(torch.zeros(2, 1, 8, 8)).shape == (2, len(backbone.info.classes))
    assert [tuple(output.shape[1:]) for output in outputs.values()] == [(16, 8, 8), (16, 4, 4), (32, 2, 2)]
    assert backbone.width == 32
    assert not any(m.bias is not None for m in backbone.trunk.modules() if isinstance(m, torch.nn.Conv2d))


def test_random_weights_depend_on_the_seed_and_leave_the_global_generator_alone(tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    names = [glyphnet.load("tiny", tmp_path, **TINY | {"weights": "random", "seed": s}) for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    first, second, other = (backbone.info.sha256 for backbone in names)
    assert first == second != other


def test_training_is_repeatable_and_leaves_threads_and_generator_alone(trained, tmp_path, capsys):
    torch.manual_seed(7)
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    again = glyphnet.load("tiny", tmp_path, **TINY)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert again.info == trained[1].info
    assert again.info.temperature > 0
    random = glyphnet.load("tiny", tmp_path, **TINY | {"weights": "random"})
    assert again.info.sha256 != random.info.sha256
    assert "of held-out glyphs right" in capsys.readouterr().err


def test_the_second_time_comes_from_the_cache(trained, monkeypatch):
    folder, first = trained
    monkeypatch.setattr(glyphnet, "pretrain", None)  # would raise TypeError
    second = glyphnet.load("tiny", folder, **TINY)
    assert second.info == first.info
    for ours, theirs in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("number", ["per_class", "updates", "batch_size", "lr", "weight_decay", "seed", "threads"])
def test_every_number_of_the_recipe_is_in_the_name_of_its_file(trained, number, monkeypatch):
    def called(**recipe):
        raise InterruptedError(recipe[number])

    monkeypatch.setattr(glyphnet, "pretrain", called)
    with pytest.raises(InterruptedError):
        glyphnet.load("tiny", trained[0], **TINY | {number: TINY[number] * 2 + 1})


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "other weights"])
def test_a_damaged_file_is_named_with_the_remedy(trained, tmp_path, damage):
    content = only_file(trained[0]).read_bytes()
    path = tmp_path / "glyphnet" / only_file(trained[0]).name
    path.parent.mkdir()
    if damage == "other weights":
        with np.load(only_file(trained[0])) as file:
            arrays = {name: file[name] for name in file.files}
        arrays["state.source_head.bias"][0] += 1
        np.savez(path, **arrays)
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:middle], "empty": b"", "bit": flipped}[damage])
    with pytest.raises(UserError, match=rf"{path.name} is damaged: delete it"):
        glyphnet.load("tiny", tmp_path, **TINY)


def test_unknown_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="has no weights imagenet: choose glyphs or random"):
        glyphnet.load("tiny", tmp_path, **TINY | {"weights": "imagenet"})


def test_widths_that_would_corrupt_memory_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"width 8 of backbone tiny .*give multiples of 16"):
        glyphnet.load("tiny", tmp_path, **TINY | {"widths": [8, 16, 16]})


def test_batches_are_shuffled_passes_without_a_rest():
    batches = list(glyphnet.batches(10, 4, updates=5, seed=0))
    assert [len(batch) for batch in batches] == [4] * 5
    for first, second in ((0, 1), (2, 3)):
        assert len(set(torch.cat([batches[first], batches[second]]).tolist())) == 8  # no image twice in a pass


def test_two_at_once_train_once(tmp_path, monkeypatch):
    calls = []

    def slow(widths, seed, **_recipe):
        calls.append(seed)
        time.sleep(0.3)
        return glyphnet.Network(widths, seed), 1.5

    monkeypatch.setattr(glyphnet, "pretrain", slow)
    with ThreadPoolExecutor(2) as pool:
        started = [pool.submit(glyphnet.load, "tiny", tmp_path, **TINY) for _ in range(2)]
        infos = [future.result().info for future in started]
    assert calls == [0]
    assert infos[0].temperature == infos[1].temperature == 1.5
