"""Bi-Tuning: its loss, its queues, the order of queue and keys, the key network."""

import dataclasses
import math

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import Tensor
from torch.nn.functional import normalize

from cotune_bench.errors import UserError
from cotune_bench.methods.bi_tuning import BiTuning, contrastive_loss, enqueue
from cotune_bench.training.engine import fit

SHIFTED = dataclasses.replace(PROTOCOL, augment="shift", shift=2)


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def test_contrastive_loss_of_a_worked_example():
    own = torch.tensor([math.log(2.0)], dtype=torch.float64)
    scores = torch.log(torch.tensor([[[3.0], [5.0]]], dtype=torch.float64))  # two classes, a queue of one
    expected = -(math.log(2 / 10) + math.log(5 / 10)) / 2 - math.log(2)
    found = contrastive_loss(own, scores, torch.tensor([1]), 1.0)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert contrastive_loss(own * 0.5, scores * 0.5, torch.tensor([1]), 0.5).item() == pytest.approx(expected)


def test_contrastive_loss_is_the_divergence_from_targets_written_out():
    own, scores, labels = unit(4), unit(4, 3, 5, seed=1), torch.tensor([2, 0, 1, 2])
    total = 0.0
    for value, rows, label in zip(own, scores, labels.tolist(), strict=True):
        positives = [value, *rows[label]]
        negatives = [score for other in range(3) if other != label for score in rows[other]]
        probabilities = torch.softmax(torch.stack([*positives, *negatives]) / 0.07, dim=0)[:6]
        total += sum(math.log(1 / 6 / p) / 6 for p in probabilities.tolist())
    assert contrastive_loss(own, scores, labels, 0.07).item() == pytest.approx(total / 4, rel=1e-10)


def test_keys_enter_the_ring_of_their_class_in_order_and_the_oldest_leave():
    queue, place = torch.zeros(2, 3, 1), torch.zeros(2, dtype=torch.int64)
    enqueue(queue, place, torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 0]))
    assert queue[..., 0].tolist() == [[1, 3, 0], [2, 0, 0]]
    assert place.tolist() == [2, 1]
    enqueue(queue, place, torch.tensor([[4.0], [5.0]]), torch.tensor([0, 0]))
    assert queue[..., 0].tolist() == [[5, 3, 4], [2, 0, 0]]
    assert place.tolist() == [1, 1]
    enqueue(queue, place, torch.arange(6.0, 11.0)[:, None], torch.tensor([1, 1, 1, 1, 1]))
    assert sorted(queue[1, :, 0].tolist()) == [8, 9, 10]  # the last three of five
    assert queue[1, (place[1] - 1) % 3, 0] == 10
    assert place.tolist() == [1, 0]


def by_definition(method: BiTuning, features: Tensor, keys: Tensor, labels: Tensor) -> tuple[float, float]:
    """The two losses from the features of both views, image after image."""

    def direction(rows: Tensor) -> Tensor:
        return normalize(torch.cat([rows, torch.ones(len(rows), 1)], dim=1), dim=1)

    z, z_key = (normalize(net(x), dim=1) for net, x in ((method.projector, features), (method.key[1], keys)))
    h, h_key = direction(features), direction(keys)
    before, after = method.queue_z.clone(), method.queue_h.clone()
    enqueue(after, method.place.clone(), h_key, labels)
    weights = normalize(torch.cat([method.head.weight, method.head.bias[:, None]], dim=1), dim=1)
    losses = []
    for anchors, own, queue in ((z, z_key, before), (weights[labels], h, after)):
        rows = [
            contrastive_loss((anchors[i] @ own[i])[None], (queue @ anchors[i])[None], labels[i : i + 1], 0.07).item()
            for i in range(len(labels))
        ]
        losses.append(sum(rows) / len(rows))
    return losses[0], losses[1]


def test_projections_see_the_queue_before_the_batch_and_class_weights_the_queue_after_it():
    method = BiTuning(make_backbone(), 3, queue_size=4).eval()
    batch = dataclasses.replace(make_data(protocol=SHIFTED).train, views=2)(0)
    with torch.no_grad():
        torch.nn.init.normal_(method.head.weight)
        features, keys = method.trunk(batch.inputs), method.key[0](batch.views[0])
        assert not torch.equal(features, keys)
        expected = by_definition(method, features, keys, batch.labels)
        first, start = method(batch), method.queue_z.clone()
        assert (first["z"].item(), first["y"].item()) == pytest.approx(expected, rel=1e-5)
        expected = by_definition(method, features, keys, batch.labels)
        second = method(batch)
        assert (second["z"].item(), second["y"].item()) == pytest.approx(expected, rel=1e-5)
        assert first["z"].item() != pytest.approx(second["z"].item(), rel=1e-3)
        assert not torch.equal(start, method.queue_z)
    newest = (method.place[batch.labels[-1]] - 1) % 4
    torch.testing.assert_close(method.queue_z[batch.labels[-1], newest], normalize(method.key[1](keys), dim=1)[-1])


def test_gradients_reach_trunk_and_projector_and_neither_keys_nor_class_weights():
    method, batch = BiTuning(make_backbone(), 3), make_data().train(0)
    terms = method.train()(batch)
    terms["z"].backward(retain_graph=True)
    assert method.projector.weight.grad.abs().sum() > 0
    assert method.head.weight.grad is None
    method.zero_grad()
    torch.nn.init.normal_(method.head.weight)
    method(batch)["y"].backward()
    assert method.trunk.conv1.weight.grad.abs().sum() > 0
    assert method.head.weight.grad is None
    assert all(value.grad is None for value in method.key.parameters())


def test_the_key_network_follows_the_trained_one(cache):
    method = BiTuning(make_backbone(), 3, momentum=0.75)
    key, value = method.key[0].conv1.weight, method.trunk.conv1.weight
    start = key.clone()
    with torch.no_grad():
        value.add_(1.0)
    method.after_step()
    torch.testing.assert_close(key, start + 0.25)
    torch.testing.assert_close(method.key[1].weight, method.projector.weight)
    fit(method, make_data(), PROTOCOL, seed=0, cache=cache)
    assert not torch.equal(key, value)
    assert not torch.equal(method.key[0].layer1[0].bn1.running_mean, method.trunk.layer1[0].bn1.running_mean)


def test_queues_start_as_unit_vectors_and_settings_are_checked():
    method = BiTuning(make_backbone(), 3, queue_size=7, projection=16)
    assert (method.queue_z.shape, method.queue_h.shape) == ((3, 7, 16), (3, 7, 5))
    torch.testing.assert_close(method.queue_h.norm(dim=2), torch.ones(3, 7))
    with pytest.raises(UserError, match=r"method.momentum=1.5 cannot be used: it must be at most 1"):
        BiTuning(make_backbone(), 3, momentum=1.5)
