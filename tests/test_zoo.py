"""Zoo-Tuning: its formulas against numbers worked out on paper and against plain convolutions and fine-tuning."""

import copy
from dataclasses import replace

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import nn
from trees import refused

from cotune_bench.backbones.additional import require_one_architecture
from cotune_bench.config import compose_config
from cotune_bench.methods import zoo as zoo_module
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.zoo import AdaptiveConv2d, aggregate
from cotune_bench.methods.zoo_tuning import ZooTuning, ZooTuningLite
from cotune_bench.training.engine import fit


class Constant(nn.Module):
    """Gates that are the same for every image."""

    def __init__(self, *gates: float) -> None:
        super().__init__()
        self.register_buffer("gates", torch.tensor(gates))

    def forward(self, maps):
        return self.gates.to(maps).expand(len(maps), -1)


def zoo(kind=ZooTuning, sources: int = 3, **options):
    torch.manual_seed(0)
    return kind(make_backbone(), 3, sources={f"s{n}": make_backbone(n) for n in range(1, sources)}, **options)


def layers(count: int, *shape: int, **options) -> list[nn.Conv2d]:
    torch.manual_seed(0)
    return [nn.Conv2d(*shape, **options).double() for _ in range(count)]


@pytest.fixture(params=[0, zoo_module.FEW])
def both(request, monkeypatch) -> None:
    """Maps of few positions mix the maps of m convolutions, others their weights: here all are of the second kind."""
    monkeypatch.setattr(zoo_module, "FEW", request.param)


def test_aggregation_is_the_gated_sum_of_the_aligned_weights():
    weights = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64).view(2, 2, 1, 1, 1)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    alignments = torch.stack([torch.eye(2, dtype=torch.float64), swap])
    gates = torch.tensor([[0.5, 0.25], [1.0, 0.0]], dtype=torch.float64)
    mixed = aggregate(weights, alignments, gates)
    assert mixed.dtype == torch.float64
    assert mixed.view(2, 2).tolist() == [[1.75, 1.75], [1.0, 2.0]]  # 0.5 [1, 2] + 0.25 [5, 3]; [1, 2]
    assert aggregate(weights, None, gates[0]).flatten().tolist() == [1.25, 2.25]  # 0.5 [1, 2] + 0.25 [3, 5]
    assert torch.equal(aggregate(list(weights), list(alignments), gates), mixed)


def test_gradients_of_the_aggregation_are_those_of_its_formula():
    weights, alignments = torch.randn(2, 2, 2, 1, 1).double(), torch.randn(2, 2, 2).double()
    gates = torch.tensor([[0.5, 0.25], [1.0, -1.0]], dtype=torch.float64)
    inputs = [value.requires_grad_() for value in (weights, alignments, gates)]
    aggregate(*inputs).sum().backward()
    aligned = torch.stack([t @ w.flatten(1) for w, t in zip(weights, alignments, strict=True)])
    torch.testing.assert_close(gates.grad, aligned.sum(dim=(1, 2)).expand(2, 2))
    shares = torch.tensor([1.5, -0.75], dtype=torch.float64)  # of each source over the two images
    expected = shares[:, None] * alignments.sum(dim=1)
    torch.testing.assert_close(weights.grad.flatten(2), expected[..., None].expand(2, 2, 2))
    assert torch.autograd.gradcheck(aggregate, inputs)


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("options", [{}, {"stride": 2, "bias": False}, {"padding": 1, "groups": 2}, {"dilation": 2}])
def test_at_the_start_each_image_sees_the_sources_weighted_by_its_gates(options):
    sources = layers(3, 4, 6, 3, **options)
    adaptive, images = AdaptiveConv2d(sources), torch.randn(5, 4, 8, 8).double()
    gates = adaptive.gate(images)
    assert gates.shape == (5, 3)
    assert (gates - gates[0]).abs().max() > 1e-3
    expected = sum(gates[:, n].view(-1, 1, 1, 1) * source(images) for n, source in enumerate(sources))
    assert adaptive(images).dtype == torch.float64
    torch.testing.assert_close(adaptive(images), expected)
    with torch.no_grad():
        torch.testing.assert_close(adaptive(images), expected)


def test_mixed_maps_are_the_maps_of_mixed_weights_with_equal_gradients(monkeypatch):
    for options in ({"padding": 1}, {"stride": 2, "bias": False}, {"dilation": 2, "padding": 1}):
        for task_gate in (False, True):
            adaptive = AdaptiveConv2d(layers(3, 6, 8, 3, **options), task_gate=task_gate)
            adaptive.alignment.data += 0.1 * torch.randn(3, 8, 8).double()
            found = []
            for few in (True, False):
                monkeypatch.setattr(AdaptiveConv2d, "_few", lambda self, maps, few=few: few)
                images = torch.randn(4, 6, 5, 7, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
                outputs = adaptive(images)
                wanted = [images, *adaptive.parameters()]
                found.append([outputs, *torch.autograd.grad(outputs.square().sum(), wanted)])
            torch.testing.assert_close(found[0], found[1])


def test_the_way_depends_on_positions_and_sources_and_of_a_task_gate_on_images_and_channels():
    adaptive = AdaptiveConv2d(layers(4, 2, 2, 3, padding=1, stride=2))
    images = torch.randn(1, 2, 16, 16).double()
    assert adaptive._size(images) == tuple(adaptive(images).shape[2:]) == (8, 8)
    assert (adaptive._few(images), adaptive._few(torch.randn(1, 2, 17, 16))) == (True, False)  # 4 x 64, 4 x 72
    lite = AdaptiveConv2d(layers(4, 2, 9, 3, padding=1, stride=2), task_gate=True)
    assert (lite._few(torch.randn(2, 2, 4, 4)), lite._few(torch.randn(3, 2, 4, 4))) == (True, False)  # 8, 12 below 9
    with torch.no_grad():
        assert not lite._few(torch.randn(2, 2, 4, 4))


def test_a_gate_is_the_sigmoid_of_two_linear_layers_on_the_mean_of_the_maps():
    adaptive = AdaptiveConv2d(layers(2, 4, 6, 3))
    first, second = (layer for layer in adaptive.gate if isinstance(layer, nn.Linear))
    assert (first.weight.shape, first.bias, second.weight.shape) == ((2, 4), None, (2, 2))  # 4 // 4 + 1 hidden
    assert not second.bias.any()
    images = torch.randn(5, 4, 8, 8).double()
    inner = images.mean(dim=(2, 3)) @ first.weight.T
    expected = torch.sigmoid(inner.clamp(min=0) @ second.weight.T)
    torch.testing.assert_close(adaptive.gate(images), expected)
    assert adaptive.gate(torch.zeros_like(images)).unique().item() == 0.5


@pytest.mark.usefixtures("both")
def test_weights_alignments_biases_and_gates_get_exact_gradients():
    adaptive, images = AdaptiveConv2d(layers(2, 8, 2, 2)), torch.randn(3, 8, 3, 3).double()
    names = [name for name, _ in adaptive.named_parameters()]
    assert {"weight", "bias", "alignment"} < set(names)

    def outputs(*parameters):
        return torch.func.functional_call(adaptive, dict(zip(names, parameters, strict=True)), (images,))

    assert torch.autograd.gradcheck(outputs, tuple(adaptive.parameters()))
    adaptive(images).square().sum().backward()
    assert all(parameter.grad.any() for parameter in adaptive.parameters())


def test_aligned_weights_are_computed_once_at_test_and_again_after_a_change(monkeypatch):
    adaptive, images = AdaptiveConv2d(layers(2, 2, 2, 3)).eval(), torch.randn(2, 2, 4, 4).double()
    calls = []
    bmm = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *given: calls.append(1) or bmm(*given))
    with torch.no_grad():
        first = adaptive(images)
        assert torch.equal(adaptive(images), first)
        assert len(calls) == 1
        adaptive.alignment.mul_(2)
        bias = (adaptive.gate(images) @ adaptive.bias)[..., None, None]
        torch.testing.assert_close(adaptive(images) - bias, 2 * (first - bias))
        adaptive.load_state_dict({name: value / 2 for name, value in adaptive.state_dict().items()})
        assert not torch.equal(adaptive(images), first)
    assert len(calls) == 3


def test_the_running_gate_follows_the_batches_from_zero():
    adaptive = AdaptiveConv2d(layers(2, 4, 4, 3), task_gate=True).train()
    batches = torch.randn(3, 5, 4, 6, 6).double()
    means = [adaptive.gate(images).mean(dim=0) for images in batches]
    for images, mean in zip(batches, means, strict=True):
        weight, bias = adaptive.mixed(mean)
        torch.testing.assert_close(adaptive(images), nn.functional.conv2d(images, weight, bias))
        adaptive.follow()
    expected = 0.081 * means[0] + 0.09 * means[1] + 0.1 * means[2]
    torch.testing.assert_close(adaptive.running_gate, expected.detach())
    assert not adaptive.running_gate.requires_grad
    weight, bias = adaptive.mixed(expected)
    torch.testing.assert_close(adaptive.eval()(images), nn.functional.conv2d(images, weight, bias))


@pytest.mark.usefixtures("both")
def test_one_source_with_gate_one_and_no_alignment_is_fine_tuning(cache):
    torch.manual_seed(0)
    plain = FineTune(make_backbone(), 3)
    adaptive = zoo(sources=1)
    for layer in adaptive.convolutions.values():
        layer.gate = Constant(1.0)
        layer.alignment.requires_grad_(False)
    for updates in (1, 2, 6):
        networks = copy.deepcopy(plain), copy.deepcopy(adaptive)
        for network in networks:
            fit(network, make_data(), replace(PROTOCOL, updates=updates), seed=0, cache=cache)
        expected = {name: value for name, value in networks[0].state_dict().items() if "running" not in name}
        found = networks[1].state_dict()
        for name, value in expected.items():
            torch.testing.assert_close(found[name].view_as(value), value)
        assert not torch.equal(expected["trunk.conv1.weight"], plain.trunk.conv1.weight)


def test_batch_normalisation_starts_at_the_mean_of_the_sources_with_new_statistics():
    backbones = [make_backbone(seed) for seed in range(2)]
    for number, backbone in enumerate(backbones):
        backbone.trunk.layer1[0].bn1.weight.data.fill_(number + 1)
    method = ZooTuning(backbones[0], 3, sources={"other": backbones[1]})
    norm = method.trunk.layer1[0].bn1
    assert norm.weight.unique().tolist() == [1.5]
    assert (norm.running_mean.unique().tolist(), norm.running_var.unique().tolist()) == ([0], [1])


def test_head_and_its_start_are_fine_tuning_s():
    torch.manual_seed(0)
    plain = FineTune(make_backbone(), 3)
    assert torch.equal(zoo().head.weight, plain.head.weight)


def test_the_trained_lite_network_merges_into_one(cache):
    method, data = zoo(ZooTuningLite), make_data()
    assert not any(layer.running_gate.any() for layer in method.convolutions.values())
    fit(method, data, PROTOCOL, seed=0, cache=cache)
    trunk, head = method.eval().plain()
    assert not any(isinstance(layer, AdaptiveConv2d) for layer in trunk.modules())
    reference = make_backbone().trunk.state_dict()
    assert {name: value.shape for name, value in trunk.state_dict().items()} == {
        name: value.shape for name, value in reference.items()
    }
    images = data.train(0).inputs
    torch.testing.assert_close(head(trunk(images)), method.predict(images), rtol=1e-6, atol=1e-6)
    assert sum(isinstance(layer, AdaptiveConv2d) for layer in method.trunk.modules()) == 5  # plain() changes nothing


def test_as_released_leaves_out_what_the_authors_code_does():
    def settings(kind, **options):
        method = zoo(kind, **options)
        return {name: (layer.alignment is not None, layer.task_gate) for name, layer in method.convolutions.items()}

    assert set(settings(ZooTuning).values()) == {(True, False)}
    released = settings(ZooTuningLite, as_released=True)
    assert released == {name: (name == "conv1", True) for name in released}
    section = compose_config(["method=zoo_tuning", "method.as_released=true"]).method
    assert section.as_released is True
    backbone, source = make_backbone(), make_backbone(1)
    for one in (backbone, source):
        one.trunk.layer1[0].downsample = nn.Conv2d(4, 4, 1)
    lite = ZooTuningLite(backbone, 3, sources={"other": source}, as_released=True)
    assert not lite.convolutions["layer1.0.downsample"].task_gate
    assert lite.plain() is None


def test_kept_are_mean_gates_by_layer_and_by_class(cache):
    data = make_data()
    method = zoo()
    assert method.artifacts() == {}
    method.prepare(data, cache)
    for layer in method.convolutions.values():
        layer.gate = Constant(0.25, 0.5, 1.0)
    files = method.artifacts()
    assert files["gates.csv"].splitlines()[:2] == ["layer,backbone,s1,s2", "conv1,0.250000,0.500000,1.000000"]
    assert files["gates_by_class.csv"].splitlines() == ["class,backbone,s1,s2"] + [
        f"{number},0.250000,0.500000,1.000000" for number in range(3)
    ]
    lite = zoo(ZooTuningLite)
    lite.prepare(data, cache)
    lite.trunk.conv1.running_gate.copy_(torch.tensor([0.1, 0.2, 0.3]))
    files = lite.artifacts()
    assert list(files) == ["gates.csv"]
    assert files["gates.csv"].splitlines()[1] == "conv1,0.100000,0.200000,0.300000"


def test_gates_by_class_are_means_over_the_images_of_a_class(cache):
    data, method = make_data(), zoo()
    method.prepare(data, cache)
    method.eval()
    images = torch.cat([views[:, 0] for views in data.plain])
    labels = torch.from_numpy(data.plain.labels)
    found = [line.split(",")[1:] for line in method.artifacts()["gates.csv"].splitlines()[1:]]
    gates = method.trunk.conv1.gate(images)
    torch.testing.assert_close(torch.tensor([float(x) for x in found[0]]), gates.mean(dim=0), rtol=0, atol=1e-6)
    method.convolutions = {"conv1": method.trunk.conv1}
    rows = [line.split(",")[1:] for line in method.artifacts()["gates_by_class.csv"].splitlines()[1:]]
    for number, row in enumerate(rows):
        expected = gates[labels == number].mean(dim=0)
        torch.testing.assert_close(torch.tensor([float(x) for x in row]), expected, rtol=0, atol=1e-6)


def test_sources_of_other_layers_are_refused_by_the_first_that_differs():
    other = make_backbone(1)
    other.trunk.layer2[1].conv2 = nn.Conv2d(4, 4, 1)
    refused(
        lambda: require_one_architecture(make_backbone(), {"moco": other}),
        "source moco has another architecture than backbone tiny: its layer layer2.1.conv2 is Conv2d(4, 4, ",
        "choose sources of one architecture",
    )
    shorter = make_backbone(1)
    del shorter.trunk.flatten
    refused(lambda: ZooTuning(make_backbone(), 3, sources={"b": shorter}), "flatten is nothing, not Flatten(")
    odd = make_backbone()
    odd.trunk.extra = nn.Linear(4, 4)
    refused(lambda: ZooTuning(odd, 3, sources={}), "zoo_tuning cannot mix layer extra (Linear)")


def test_the_zoo_of_glyphnet_is_four_networks_of_other_tasks_and_any_number_can_be_given():
    section = compose_config(["method=zoo_tuning", "replicate=18"]).method
    assert [*section.sources] == ["marks", "fonts", "rotation", "contrastive"]
    assert all(source.weights == name for name, source in section.sources.items())
    more = ["+backbone@method.sources.mine=glyphnet", "method.sources.mine.seed=9"]
    assert len(compose_config(["method=zoo_tuning", *more]).method.sources) == 5
    alone = compose_config(["method=zoo_tuning", "zoo@method.sources=none", *more]).method.sources
    assert [(name, source.seed) for name, source in alone.items()] == [("mine", 9)]
    assert "sources" not in compose_config(["method=finetune"]).method


def test_the_zoo_of_resnet50_is_the_paper_s():
    section = compose_config(["method=zoo_tuning_lite", "data=cars", "protocol=zoo"]).method
    weights = ["moco_v1_200ep_pretrain.pth.tar", "maskrcnn", "deeplabv3", "keypointrcnn"]
    assert [source.weights for source in section.sources.values()] == weights
