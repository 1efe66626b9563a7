"""Methods of several backbones: their yaml names them, a run builds them and tells which weights they had."""

import dataclasses

import pytest
from conftest import make_backbone
from omegaconf import OmegaConf
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from trees import refused

from cotune_bench import cli
from cotune_bench.backbones.additional import further_backbones, weights_of
from cotune_bench.backbones.base import Backbone, Frozen
from cotune_bench.config import compose_config, run_key
from cotune_bench.methods import finetune
from cotune_bench.methods.base import Method
from cotune_bench.storage.records import RecordStore

YAML = """
defaults:
  - /backbone@teacher: glyphnet
_target_: cotune_bench.methods.finetune.Taught
name: taught
weight: 1.0
tune: {}
teacher: {weights: random, seed: 7}
"""
QUICK = ["data=digits", "method=taught", "backbone.weights=random", "protocol.updates=4", "device=cpu"]


class Taught(Method):
    """Cross-entropy, and what another network says of the source classes."""

    def __init__(self, backbone, num_classes, *, teacher: Backbone, weight: float, head_init=None):
        super().__init__(backbone, num_classes, head_init=head_init)
        self.weight = weight
        self.source_head = Frozen(backbone.source_head)
        self.teacher = Frozen(teacher)

    def forward(self, batch):
        """``ce`` and ``kd``."""
        features = self.features(batch.inputs)
        wanted = softmax(self.teacher(batch.inputs), dim=1)
        said = log_softmax(self.source_head(features), dim=1)
        ce = cross_entropy(self.head(features), batch.labels)
        return {"ce": ce, "kd": self.weight * kl_div(said, wanted, reduction="batchmean")}


@pytest.fixture
def taught(here, conf, monkeypatch):
    """A method of two backbones in a copy of the yaml files."""
    (conf / "method" / "taught.yaml").write_text(YAML, encoding="utf-8")
    monkeypatch.setattr(finetune, "Taught", Taught, raising=False)
    return here


def test_a_run_has_them_and_its_record_lists_their_weights(taught):
    assert cli.main([*QUICK, "keep_checkpoint=true"]) == 0
    (record,), _ = RecordStore(taught / "results").read()
    assert record.config["method"]["teacher"]["seed"] == 7
    (told,) = record.environment["further_weights"]
    assert (told["backbone"], told["weights"]) == ("glyphnet", "random")
    assert len(told["sha256"]) == 64
    assert told["sha256"] != record.weights_sha256


def test_their_settings_define_the_result_and_are_checked(taught):
    keys = {run_key(compose_config([*QUICK, *more])) for more in ([], ["method.teacher.seed=8"])}
    assert len(keys) == 2
    refused(lambda: compose_config([*QUICK, "method.teacher.sed=8"]), "method.teacher.sed is not a setting")
    refused(lambda: compose_config([*QUICK, "method.teacher.seed=x"]), "method.teacher.seed=x cannot be used")


def test_another_can_be_chosen_on_the_command_line(taught):
    config = compose_config([*QUICK, "backbone@method.teacher=resnet18"])
    assert (config.method.teacher.model, config.backbone.name) == ("resnet18", "glyphnet")
    assert cli.main([*QUICK, "backbone@method.teacher=resnet18"]) == 2


def load(section) -> Backbone:
    return make_backbone(section.seed)


def test_a_group_of_them_is_a_dict_and_other_mappings_stay_values():
    one = {"_target_": "cotune_bench.backbones.glyphnet.load", "seed": 3}
    section = OmegaConf.create({"sources": {"a": one, "b": {**one, "seed": 4}}, "tune": {"k": [1]}, "more": {"x": 1}})
    found = further_backbones(section, make_backbone(), load)
    assert list(found) == ["sources"]
    assert isinstance(found["sources"], dict)
    assert list(found["sources"]) == ["a", "b"]
    assert [told["sha256"] for told in weights_of(found)] == ["tiny3", "tiny4"]


def test_one_that_wants_other_images_is_refused():
    section = OmegaConf.create({"teacher": {"_target_": "x", "seed": 0}})
    first = make_backbone()
    first.info = dataclasses.replace(first.info, mean=(0.4,))
    refused(lambda: further_backbones(section, first, load), "method.teacher takes images of mean (0.5,)", "agree")
