"""SpotTune in training: a task made for it, variants of one run, what is kept of its policy, and Progressive."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from filelock import FileLock
from PIL import Image
from torch import Tensor, nn

from cotune_bench.api import load_backbone
from cotune_bench.backbones.base import Backbone, SourceInfo
from cotune_bench.config import compose_config, run_key
from cotune_bench.data.dataset import Dataset
from cotune_bench.inference.evaluate import evaluate
from cotune_bench.inference.policies import Policies, policies_of
from cotune_bench.methods.feature_extractor import FeatureExtractor
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.progressive import Progressive
from cotune_bench.methods.spottune import SpotTune
from cotune_bench.methods.spottune_global import SpotTuneGlobal
from cotune_bench.storage.records import RecordStore
from cotune_bench.training.engine import fit
from cotune_bench.training.runner import run

SMALL = {"policy_size": 8, "policy_widths": (4,), "policy_blocks": 1}


# A task that needs both copies --------------------------------------------------------------------------------------


class Weights(nn.Module):
    """A linear layer that is no Sequential: one number of the means of four quarters of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1, bias=False)
        self.linear.weight.data = torch.tensor([[1.0, 0.0, 0.0, 0.0]])

    def forward(self, quarters: Tensor) -> Tensor:
        return self.linear(quarters)


def two_kinds() -> Dataset:
    """Half of the images have their class in the first quarter, which the frozen block reads, half in the second.

    The other quarter is noise, and the third says which half an image belongs to.
    """
    rng = np.random.default_rng(0)
    labels, kind = rng.integers(0, 2, 900), rng.integers(0, 2, 900)
    signal, noise = 60 + 135 * labels, rng.choice([60, 195], 900)
    quarters = np.stack([np.where(kind == 0, signal, noise), np.where(kind == 0, noise, signal), 255 * kind], axis=1)
    pixels = np.zeros((900, 8, 8, 1), dtype=np.uint8)
    pixels[:, :4, :4, 0] = quarters[:, 0, None, None]
    pixels[:, :4, 4:, 0] = quarters[:, 1, None, None]
    pixels[:, 4:, :4, 0] = quarters[:, 2, None, None]
    return Dataset(
        name="two-kinds",
        pixels=pixels,
        labels=labels,
        classes=("dark", "light"),
        train=np.arange(600),
        test=np.arange(600, 900),
    )


def one_number() -> Backbone:
    trunk = nn.Sequential()
    trunk.add_module("pool", nn.AdaptiveAvgPool2d(2))
    trunk.add_module("flatten", nn.Flatten())
    trunk.add_module("block", Weights())
    info = SourceInfo("random", "one-number", ("a",), (0.5,), (0.25,))
    return Backbone("one-number", trunk, nn.Linear(1, 1), info, blocks=("block",))


def test_routing_wins_where_half_of_the_images_need_the_frozen_features_and_half_new_ones(cache):
    protocol = replace(PROTOCOL, updates=400, drop_at=(300,), batch_size=32, lr=0.1, backbone_ratio=1.0)
    data, found = make_data(two_kinds(), protocol), {}
    for kind, settings in (
        (FeatureExtractor, {}),
        (FineTune, {}),
        (SpotTune, {"policy_lr": 0.1, **SMALL}),
    ):
        torch.manual_seed(0)
        method = kind(one_number(), 2, **settings)
        fit(method, data, protocol, seed=0, cache=cache)
        found[kind] = evaluate(method, data.test)[0]["accuracy"]
        if kind is SpotTune:
            chosen = policies_of(method, data.test)
    assert found[FeatureExtractor] < 85
    assert found[FineTune] < 85
    assert found[SpotTune] > 95
    assert chosen is not None
    assert 0.4 < chosen.tuned_blocks < 0.6


# Runs ---------------------------------------------------------------------------------------------------------------


def settings(folder: Path, *more: str) -> list[str]:
    small = ["policy_widths=[4]", "policy_blocks=1", "policy_lr=0.5"]
    values = [
        "data=digits",
        "rate=0.15",
        "protocol.updates=30",
        "method=spottune",
        *(f"method.{one}" for one in small),
    ]
    return [*values, f"results={folder}", *more]


def test_one_training_gives_the_records_that_each_variant_trained_alone_would_give(here):
    together, alone = RecordStore(here / "together"), RecordStore(here / "alone")
    config = compose_config(settings(together.results))
    assert run(config).state == "done"
    tuned = compose_config(settings(together.results, "method.test_policy=tuned"))
    assert run(tuned).state == "skipped"
    assert run(compose_config(settings(alone.results, "method.test_policy=tuned"))).state == "done"
    keys = {run_key(config), run_key(tuned)}
    found = [{one.key: one for one in store.read()[0]} for store in (together, alone)]
    assert set(found[0]) == set(found[1]) == keys
    for key in keys:
        first, second = (vars(records[key]) for records in found)
        timed = ("seconds", "finished", "environment")
        assert {name: first[name] for name in first if name not in timed} == {
            name: second[name] for name in second if name not in timed
        }
    chosen, all_tuned = (found[0][run_key(one)] for one in (config, tuned))
    assert chosen.config["method"]["test_policy"] == "argmax"
    assert all_tuned.config["method"]["test_policy"] == "tuned"
    assert all_tuned.metrics["tuned_blocks"] == 3
    assert 0 <= chosen.metrics["tuned_blocks"] < 3
    assert chosen.correct != all_tuned.correct
    trained = [path.parent.name for path in (together.results / "runs").rglob("metrics.csv")]
    assert trained == [run_key(config)]


def test_a_variant_of_a_run_that_another_process_trains_is_not_trained_again(here):
    configs = [compose_config(settings(here, f"method.test_policy={policy}")) for policy in ("argmax", "tuned")]
    for config in configs:
        lock = FileLock(here / "runs" / run_key(config) / "lock")
        lock_folder = Path(lock.lock_file).parent
        lock_folder.mkdir(parents=True, exist_ok=True)
    first = min(configs, key=run_key)
    other = max(configs, key=run_key)
    with FileLock(here / "runs" / run_key(first) / "lock"):
        assert run(other).state == "running elsewhere"


def test_what_the_policy_chose_is_kept_in_the_run_s_folder(here):
    config = compose_config(settings(here))
    run(config)
    folder = here / "runs" / run_key(config)
    overall, *classes = list(csv.DictReader((folder / "policy.csv").read_text().splitlines()))
    images = list(csv.DictReader((folder / "policy_images.csv").read_text().splitlines()))
    blocks = ["layer1.0", "layer2.0", "layer3.0"]
    assert (overall["class"], int(overall["images"])) == ("all", len(images))
    assert [row["class"] for row in classes] == list("0123456789")
    for row in (overall, *classes):
        rows = [one for one in images if row["class"] in ("all", one["class"])]
        assert int(row["images"]) == len(rows)
        for block in blocks:
            share = sum(float(one[block]) for one in rows) / len(rows)
            assert float(row[block]) == pytest.approx(share, abs=1e-5)
    record = json.loads((here / "records" / f"{run_key(config)}.json").read_text())
    mean = sum(float(overall[block]) for block in blocks)
    assert record["metrics"]["tuned_blocks"] == pytest.approx(mean, abs=1e-4)


def test_shares_of_a_worked_example():
    chosen = Policies(("a", "b"), np.array([[1.0, 0.5], [0.0, 0.5], [1.0, 1.0]]), np.array([2, 0, 2]))
    assert chosen.tuned_blocks == pytest.approx(4 / 3)
    texts = chosen.texts(("cat", "dog", "owl"))
    assert texts["policy.csv"].splitlines() == [
        "class,images,a,b",
        "all,3,0.666667,0.666667",
        "cat,1,0,0.5",
        "owl,2,1,0.75",
    ]
    rows = ["image,class,agreement,a,b", "0,owl,0.75,1,0.5", "1,cat,0.583333,0,0.5", "2,owl,0.666667,1,1"]
    assert texts["policy_images.csv"].splitlines() == rows


def test_the_sheet_shows_the_images_that_agree_most_and_those_that_agree_least():
    pixels = np.arange(12, dtype=np.uint8).repeat(16 * 16).reshape(12, 16, 16, 1)
    shares = np.linspace(1, 0, 12)[:, None] ** 8  # the mean is near 0: the last images agree most
    views = SimpleNamespace(images=SimpleNamespace(take=lambda rows: pixels[rows]))
    sheet = np.asarray(Image.open(io.BytesIO(Policies(("a",), shares, np.zeros(12, int)).sheet(views))))
    size = len(sheet) // 2
    shown = [
        [int(sheet[size * row + size // 2, size * column + size // 2]) for column in range(10)] for row in (0, 1)
    ]
    agreement = 1 - np.abs(shares - shares.mean())[:, 0]
    assert shown[0] == np.argsort(-agreement, kind="stable")[:10].tolist()
    assert shown[1] == np.argsort(-agreement, kind="stable")[::-1][:10].tolist()
    assert shown[1][0] == 0


def test_methods_that_choose_nothing_have_no_policy(cache):
    assert policies_of(FineTune(make_backbone(), 3), make_data().test) is None


def test_a_progressive_column_begins_as_the_pre_trained_network(cache):
    method = Progressive(make_backbone(), 3)
    images = make_data().train(0).inputs
    torch.testing.assert_close(method.eval().features(images), make_backbone().trunk.eval()(images))
    assert method.stages == ["layer1.0", "layer2.1"]
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    for name, value in make_backbone().trunk.state_dict().items():
        assert torch.equal(method.source.module.state_dict()[name], value)
    moved = method.adapters[0].weight.detach()
    assert (moved[:, 4:] != 0).all()  # reads the frozen column


def test_a_progressive_column_may_start_at_random():
    method = Progressive(make_backbone(), 3, start="random")
    assert not torch.equal(method.trunk.conv1.weight, method.source.module.conv1.weight)
    assert {group["name"]: group["lr"] for group in method.param_groups(0.2, 0.1)} == {
        "pretrained": 0.2,
        "head": 0.2,
        "adapters": 0.2,
    }
    assert len(Progressive(load_backbone("resnet18", weights="random"), 3).adapters) == 4


def test_a_plain_trunk_of_global_k_has_the_fixed_copies(cache):
    method = SpotTuneGlobal(make_backbone(), 3, k=1, **SMALL)
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    method.shares.copy_(torch.tensor([0.1, 0.9]))
    state, source = method.plain()[0].state_dict(), make_backbone().trunk.state_dict()
    for name, value in state.items():
        assert torch.equal(value, method.trunk.state_dict()[name] if name.startswith("layer2") else source[name])
