"""The contract that every method meets; a new yaml joins by existing."""

import dataclasses
from pydoc import locate

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data, make_dataset
from omegaconf import OmegaConf
from torch.nn.functional import one_hot
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint
from toy_methods import CLASSES, make_method

from cotune_bench.backbones import trunk
from cotune_bench.backbones.base import tap
from cotune_bench.config import CONF, choices, compose_config, key_of, run_config, run_key
from cotune_bench.errors import UserError
from cotune_bench.inference.evaluate import evaluate, predict
from cotune_bench.inference.execution import choose_execution
from cotune_bench.methods.base import Method
from cotune_bench.methods.delta import Delta
from cotune_bench.training.engine import fit

#: What follows the trained weights in training, by prefix of its name.
FOLLOWING = {
    "bi_tuning": ("key.", "queue_", "place"),
    "ema": ("average.", "updates"),
    "spottune_global": ("shares",),
    "wise_ft": ("chosen",),
    "knowledge_flow": ("done",),
}
#: Parts of a method beside trunk and head that prediction needs, and so its state holds.
FURTHER = {
    "spottune": ("source", "policy_network"),
    "spottune_global": ("source", "policy_network"),
    "random_policy": ("source",),
    "progressive": ("source", "adapters"),
    "wise_ft": ("start",),
    "knowledge_flow": ("flow",),  # in training alone
}


#: Methods of which no plain network predicts the same.
NOT_PLAIN = ("svm", "spottune", "random_policy", "progressive", "zoo_tuning", "ensemble")
#: By their classes: composing all methods would take each worker of the tests ten seconds.
FILES = {name: OmegaConf.load(CONF / "method" / f"{name}.yaml") for name in choices("method")}
TRAINED = [name for name, file in FILES.items() if not getattr(locate(file["_target_"]), "solved")]  # noqa: B009
trained_methods = pytest.mark.parametrize("name", TRAINED)


@pytest.fixture(params=choices("method"))
def name(request) -> str:
    return request.param


@pytest.fixture
def prepared(name, cache) -> Method:
    method = make_method(name)
    method.prepare(make_data(), cache)
    return method


@trained_methods
def test_terms_are_named_finite_scalars_with_cross_entropy_first(prepared):
    terms = prepared.train()(make_data().train(0))
    assert next(iter(terms)) == "ce"
    for term in terms.values():
        assert term.shape == ()
        assert torch.isfinite(term)
        assert term >= 0


@trained_methods
def test_cross_entropy_takes_the_shares_of_mixed_images(prepared):
    batch, found = make_data().train(0), []
    others = dataclasses.replace(batch, shares=one_hot((batch.labels + 1) % CLASSES, CLASSES).float())
    for one in (batch, others):
        torch.manual_seed(0)  # or what a method draws would tell them apart
        found.append(prepared.train()(one)["ce"].item())
    assert found[1] != pytest.approx(found[0], rel=1e-4)


@trained_methods
def test_each_parameter_is_in_one_group_and_the_head_learns_at_lr_and_the_pretrained_at_the_ratio(name, prepared):
    groups = {group["name"]: group for group in prepared.param_groups(0.2, 0.25)}
    grouped = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in prepared.parameters() if p.requires_grad)
    fresh = {id(p) for p in groups.get("gates", {"params": []})["params"]}  # new weights, too
    assert "gates" not in groups or groups["gates"]["lr"] == 0.2
    trained = [p for p in prepared.trunk.parameters() if p.requires_grad and id(p) not in fresh]
    expected = 0.2 if name == "random_start" else 0.05
    for group, parameters, lr in (("head", prepared.head.parameters(), 0.2), ("pretrained", trained, expected)):
        assert {id(p) for p in parameters} <= {id(p) for p in groups[group]["params"]}
        assert groups[group]["lr"] == pytest.approx(lr)
        assert ("weight_decay" in groups[group]) == prepared.replaces_weight_decay


@trained_methods
def test_training_moves_what_is_grouped_and_batch_statistics_and_nothing_else(name, cache):
    method, data = make_method(name), make_data()
    method.prepare(data, cache)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    fit(method, data, PROTOCOL, seed=0, cache=cache)
    grouped = {id(p) for group in method.param_groups(0.1, 0.1) for p in group["params"]}
    norms = [module for module in method.train().modules() if isinstance(module, torch.nn.BatchNorm2d)]
    statistics = {id(buffer) for module in norms if module.training for buffer in module.buffers(recurse=False)}
    statistics |= {id(buffer) for key, buffer in method.trunk.named_buffers() if key.endswith("running_gate")}
    for norm in (module for module in method.trunk.modules() if module in norms):  # frozen weights, frozen statistics
        assert norm.training == (norm.weight.requires_grad or norm.bias.requires_grad or name == "lora")
    for key, value in method.state_dict(keep_vars=True).items():
        moves = id(value) in grouped | statistics or key.startswith(FOLLOWING.get(name, ()))
        assert moves != torch.equal(value, before[key]), key


def test_what_prepare_solves_is_not_trained(name, cache):
    method, data, reports = make_method(name), make_data(), []
    before = {key: value.clone() for key, value in method.trunk.state_dict().items()}
    fit(method, data, PROTOCOL, seed=0, cache=cache, report=lambda *told: reports.append(told))
    assert bool(reports) != method.solved
    same = all(torch.equal(value, before[key]) for key, value in method.trunk.state_dict().items())
    assert same == (method.solved or name == "feature_extractor")
    assert evaluate(method, data.test)[0]["accuracy"] > 100 / CLASSES or not method.solved


def test_predict_gives_repeatable_logits_which_trunk_and_head_alone_give_where_they_are_kept(name, cache):
    method, data = make_method(name, classes=2), make_data(make_dataset(classes=2))  # other tests have 3 classes
    fit(method, data, PROTOCOL, seed=0, cache=cache)
    logits, plain = predict(method, data.test), method.eval().plain()
    assert logits.shape == (len(data.test), 2)
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, predict(method, data.test))
    assert (plain is None) == (name in NOT_PLAIN)
    images = data.train(0).inputs
    if plain:
        torch.testing.assert_close(method.predict(images), plain[1](plain[0](images)))


def test_state_dict_restores_predictions_and_losses_on_the_same_source(name, prepared, cache):
    other, data = make_method(name), make_data()
    fit(prepared, data, PROTOCOL, seed=0, cache=cache)
    other.prepare(data, cache)
    other.load_state_dict(prepared.state_dict())
    batch = data.train(0)
    for method in (prepared, other):
        method.eval()
    assert torch.equal(prepared.predict(batch.inputs), other.predict(batch.inputs))
    if prepared.solved:
        return
    terms, restored = prepared(batch), other(batch)
    assert {key: value.item() for key, value in terms.items()} == {
        key: value.item() for key, value in restored.items()
    }


def test_no_checkpoint_holds_the_frozen_source_or_the_starting_point(name, prepared):
    held = sum(value.numel() for value in prepared.state_dict().values() if isinstance(value, torch.Tensor))
    network = [*prepared.trunk.state_dict().values(), *prepared.head.state_dict().values()]
    more = sum(value.numel() for value in network) if name == "svm" else 0  # its training images
    more += 200 if name in ("cotuning", "combine") else 0  # source head and relationship
    following = [value for key, value in prepared.state_dict().items() if key.startswith(FOLLOWING.get(name, ()))]
    more += sum(value.numel() for value in following) + (128 * 5 if name == "bi_tuning" else 0)  # projector
    more += sum(value.numel() for value in [*prepared.down, *prepared.up]) if name == "lora" else 0
    for part in FURTHER.get(name, ()):
        more += sum(value.numel() for value in prepared.get_submodule(part).state_dict().values())
    more += 4 * sum(value.numel() for value in network) if name == "ensemble" else 0  # its other networks
    assert held <= sum(value.numel() for value in network) + more


@pytest.mark.filterwarnings("ignore:Grad strides do not match")  # maps of one channel have two layouts
@trained_methods
def test_terms_and_gradients_are_the_same_behind_distributed_data_parallel(name, prepared):
    batch = make_data().train(0)
    prepared.train()
    state = {key: value.clone() for key, value in prepared.state_dict().items()}

    def found(network: torch.nn.Module) -> tuple[dict, list]:
        prepared.load_state_dict(state)
        prepared.zero_grad()
        torch.manual_seed(0)  # as the engine does before every update
        terms = network(batch)
        torch.stack(list(terms.values())).sum().backward()
        return terms, [parameter.grad.clone() for parameter in prepared.parameters() if parameter.grad is not None]

    alone = found(prepared)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        torch.testing.assert_close(found(DistributedDataParallel(prepared)), alone)
    finally:
        torch.distributed.destroy_process_group()


@trained_methods
def test_recomputing_blocks_changes_no_term_or_gradient_or_is_refused(name, cache, monkeypatch):
    found, again = [], []
    monkeypatch.setattr(
        trunk, "checkpoint", lambda block, *rest, **more: again.append(block) or checkpoint(block, *rest, **more)
    )
    for recompute in ("never", "always"):
        method = make_method(name)
        method.prepare(make_data(), cache)
        if not method.recomputable:
            with pytest.raises(UserError, match="recompute=always cannot be used with this method"):
                choose_execution(method, PROTOCOL, torch.device("cpu"), recompute="always")
            return
        choose_execution(method, PROTOCOL, torch.device("cpu"), recompute=recompute)
        torch.manual_seed(0)
        terms = method.train()(make_data().train(0))
        torch.stack(list(terms.values())).sum().backward()
        found.append((terms, [parameter.grad for parameter in method.parameters() if parameter.grad is not None]))
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert bool(again) == bool(method.pretrained_parameters())


def test_head_starts_small_or_as_the_library_likes(name):
    normal = make_method(name, classes=50).head
    assert normal.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert not normal.bias.any()
    other = make_method(name, classes=50, head_init="torch").head
    assert other.weight.abs().max() > 0.1


def test_delta_refuses_a_backbone_without_taps_and_an_unknown_regularisation():
    with pytest.raises(ValueError, match="tiny names no layers for DELTA"):
        make_method("delta", taps=())
    with pytest.raises(ValueError, match="regularisation=maps is unknown: choose attention, feature_map"):
        Delta(make_backbone(), CLASSES, regularisation="maps")


def test_delta_on_plain_feature_maps_needs_no_preparation(cache):
    method = Delta(make_backbone(), CLASSES, regularisation="feature_map", alpha=0.5)
    method.prepare(make_data(), cache)
    assert not list(cache.folder.rglob("*.arrays"))
    assert method.preparation(1000) == 0
    batch = make_data().train(0)
    with tap(method.trunk, method.taps) as maps, tap(method.source.module, method.taps) as source:
        terms = method(batch)
    distances = sum((maps[name] - source[name]).square().sum() for name in method.taps)
    assert terms["maps"].item() == pytest.approx(0.5 * distances.item() / 2, rel=1e-6)
    assert distances > 0


def test_older_runs_of_delta_had_attention_and_without_it_its_settings_define_nothing():
    today = run_config(compose_config(["method=delta"]))
    older = {**today, "method": {name: value for name, value in today["method"].items() if name != "regularisation"}}
    assert key_of(older) == key_of(today)
    plain = [
        run_key(compose_config(["method=delta", "method.regularisation=feature_map", *more]))
        for more in ([], ["method.attention_batches=1"])
    ]
    assert plain[0] == plain[1] != run_key(compose_config(["method=delta"]))
