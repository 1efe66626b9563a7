"""Knowledge Flow: its formula against numbers worked out on paper, and its student against fine-tuning."""

import dataclasses

import pytest
import torch
from conftest import PROTOCOL, make_backbone, make_data
from torch import nn

from cotune_bench.backbones.base import evaluating, tap
from cotune_bench.config import compose_config
from cotune_bench.errors import UserError
from cotune_bench.methods.finetune import FineTune
from cotune_bench.methods.knowledge_flow import KnowledgeFlow, Mix, flow_shares
from cotune_bench.training.engine import fit

LOGITS = torch.tensor([0.0, 0.0, 0.0, 0.0], dtype=torch.float64)


def flow(updates: int = 6, **options) -> KnowledgeFlow:
    torch.manual_seed(0)
    sources = {f"s{number}": make_backbone(number) for number in (1, 2)}
    return KnowledgeFlow(make_backbone(), 3, sources=sources, updates=updates, **options)


def test_shares_are_a_softmax_in_which_the_student_takes_what_the_teachers_lose():
    assert flow_shares(LOGITS, 1.0).tolist() == [0.25] * 4
    assert flow_shares(LOGITS, 0.5).tolist() == [0.625, 0.125, 0.125, 0.125]
    assert flow_shares(LOGITS, 0.0).tolist() == [1, 0, 0, 0]
    logits = torch.tensor([0.0, 3.0]).double().log1p()  # 1 : 4
    torch.testing.assert_close(flow_shares(logits, 0.5), torch.tensor([0.6, 0.4], dtype=torch.float64))


def test_a_stage_mixes_the_student_s_maps_with_the_transformed_ones_of_the_teachers():
    mix, maps = Mix(2, 2).double(), torch.randn(3, 1, 2, 4, 4).double()
    mix.logits.data = torch.tensor([0.0, 1.0, 2.0]).double()
    shares = mix.logits.softmax(dim=0)
    found = mix(maps[0], list(maps[1:]), 1.0)
    torch.testing.assert_close(found, (shares.view(3, 1, 1, 1, 1) * maps).sum(dim=0))  # transforms start as identity
    mix.transforms[1].weight.data.mul_(3)
    torch.testing.assert_close(mix(maps[0], list(maps[1:]), 1.0) - found, 2 * shares[2] * maps[2])


def test_the_first_loss_is_that_of_the_mixed_stages():
    method, batch = flow(weight=0.3), make_data().train(0)
    others = [make_backbone(number).trunk for number in range(3)]
    student = make_backbone().trunk
    with evaluating(student, *others):
        maps = batch.inputs
        seen = []
        for trunk in others:
            with tap(trunk, ["layer1.0", "layer2.1"]) as found:
                trunk(batch.inputs)
            seen.append(found)
        for name, layer in (("layer1.0", student[:2]), ("layer2.1", student[2])):
            maps = 0.25 * (layer(maps) + sum(found[name] for found in seen))
        expected = nn.functional.cross_entropy(method.head(student[3:](maps)), batch.labels)
        terms = method.eval()(batch)
    torch.testing.assert_close(terms["ce"], expected)
    assert terms["dep"].item() == pytest.approx(0.3 * torch.tensor(4.0).log().item())


def test_the_penalty_drives_the_teachers_out():
    method = flow(weight=1.0)
    method.train()(make_data().train(0))["dep"].backward()
    for mix in method.flow:  # of -log softmax, halved by the mean over two stages
        assert mix.logits.grad.tolist() == pytest.approx([-0.375, 0.125, 0.125, 0.125])


def test_after_the_teachers_the_student_trains_as_fine_tuning_does(cache):
    method = flow(alone=0.5)
    seen = []
    for teacher in method.teachers:
        teacher.register_forward_hook(lambda *given: seen.append(int(method.done)))
    reports = []
    fit(
        method,
        make_data(),
        PROTOCOL,
        seed=0,
        cache=cache,
        report_every=1,
        report=lambda *told: reports.append(told[2]),
    )
    assert seen == [0] * 3 + [1] * 3 + [2] * 3
    assert [report["dep"] > 0 for report in reports] == [True] * 3 + [False] * 3
    assert method.done == 6
    plain, late = FineTune(make_backbone(), 3), flow()
    late.head.load_state_dict(plain.head.state_dict())
    late.done.fill_(6)
    for one in (plain, late):
        fit(one, make_data(), dataclasses.replace(PROTOCOL, updates=3), seed=0, cache=cache)
    torch.testing.assert_close(late.trunk.state_dict(), plain.trunk.state_dict())
    images = make_data().train(0).inputs
    assert torch.equal(late.eval().predict(images), late.head(late.trunk(images)))


def test_its_updates_are_the_protocol_s_and_its_teachers_the_zoo_s():
    section = compose_config(["method=knowledge_flow", "protocol.updates=77"]).method
    assert (section.updates, len(section.sources)) == (77, 4)
    with pytest.raises(UserError, match=r"method.alone="):
        flow(alone=0.0)
