"""The zoo of the glyph backbone: its tasks, its shipped networks, and the table that compares it."""

import math
import shutil
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from trees import refused

from cotune_bench.backbones import glyphnet
from cotune_bench.backbones.glyphnet_training import Recipe
from cotune_bench.backbones.glyphnet_zoo import MARKS, TASKS, draw, learn, similarities
from cotune_bench.backbones.glyphs import DEJAVU
from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.config.changed import changed
from cotune_bench.data.readers.letters import ALPHABETS
from cotune_bench.training import runner

OTHERS = glyphnet.ZOO[1:]


def test_nt_xent_is_the_cross_entropy_of_finding_the_other_view():
    views = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, -1.0]], dtype=torch.float64)
    # Cosines: 1 within the first pair, -1 within the second, 0 between them; divided by 0.5.
    first = -math.log(math.exp(2) / (math.exp(2) + 2))
    second = -math.log(math.exp(-2) / (math.exp(-2) + 2))
    loss = torch.nn.functional.cross_entropy(*similarities(views, 0.5))
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_no_mark_is_a_class_of_the_source_or_of_a_target():
    others = {*glyphnet.CLASSES, *"0123456789", *chain(*ALPHABETS.values())}
    assert len(set(MARKS)) == len(MARKS)
    assert not others & {*MARKS}


@pytest.mark.parametrize("name", OTHERS)
def test_training_on_a_task_lowers_its_loss(name):
    task = replace(TASKS[name], characters=TASKS[name].characters[:4])
    drawings = draw(task, 4)
    before = torch.get_rng_state()
    network, losses = learn(task, drawings, Recipe(updates=30, batch_size=16, lr=0.02))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    letters = glyphnet.load("glyphnet", None, weights="letters", seed=0).trunk.conv1.weight
    moved = (network.trunk.conv1.weight - letters).abs().max().item()
    assert (moved < 0.5 * letters.abs().max().item()) == task.from_letters


def test_answers_of_the_tasks_are_character_font_quarter_turn_and_other_view():
    drawings = draw(replace(TASKS["marks"], characters=MARKS[:2]), 2)
    assert drawings.images.shape == (2 * len(DEJAVU), 2, 1, 8, 8)
    assert drawings.characters.tolist() == [0] * len(DEJAVU) + [1] * len(DEJAVU)
    assert drawings.fonts.tolist() == [*range(len(DEJAVU))] * 2
    chosen = torch.tensor([13, 2])
    given = drawings.batch(chosen, torch.tensor([[0, 1], [1, 0]]))
    assert torch.equal(given[0], drawings.images[[13, 13, 2, 2], [0, 1, 1, 0]])
    seen = []

    def network(images):
        seen.append(images)
        return images.flatten(1)

    answers = {name: task.answer(network, *given)[1].tolist() for name, task in TASKS.items()}
    turned = [quarter for quarter in range(4) for _ in range(4)]
    assert answers == {
        "marks": [1, 1, 0, 0],
        "fonts": [1, 1, 2, 2],
        "rotation": turned,
        "contrastive": [1, 0, 3, 2],
    }
    assert torch.equal(seen[2][4], given[0][0].rot90(1, (1, 2)))


def test_shipped_networks_are_small_different_and_without_source_head(tmp_path):
    found = {name: glyphnet.load("glyphnet", tmp_path, weights=name, seed=0) for name in glyphnet.ZOO}
    assert len({backbone.info.sha256 for backbone in found.values()}) == 5
    for name in OTHERS:
        assert (found[name].source_head, found[name].info.classes, found[name].width) == (None, (), 64)
        assert (glyphnet.SHIPPED_ZOO / f"{name}.safetensors").stat().st_size < 200_000
    glyphs = glyphnet.load("glyphnet", tmp_path, weights="glyphs", seed=0)
    assert found["letters"].info == replace(glyphs.info, weights="letters")
    assert not list(tmp_path.iterdir())


def test_three_networks_stayed_near_letters_and_contrastive_started_elsewhere(tmp_path):
    weights = {
        name: glyphnet.load("glyphnet", tmp_path, weights=name, seed=0).trunk.layer3[0].conv2.weight.flatten()
        for name in glyphnet.ZOO
    }
    likeness = {name: torch.cosine_similarity(weights[name], weights["letters"], dim=0).item() for name in OTHERS}
    assert min(likeness[name] for name in ("marks", "fonts", "rotation")) > 0.5 > 0.1 > abs(likeness["contrastive"])


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    folder = shutil.copytree(glyphnet.SHIPPED_ZOO, tmp_path / "zoo")
    with (folder / "fonts.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    monkeypatch.setattr(glyphnet, "SHIPPED_ZOO", folder)
    refused(lambda: glyphnet.load("glyphnet", tmp_path, weights="fonts", seed=0), "fonts.safetensors is not the file")
    assert glyphnet.load("glyphnet", tmp_path, weights="marks", seed=0).info.weights == "marks"


@pytest.mark.parametrize("name", glyphnet.ZOO[:2])  # letters, and one of the others
def test_a_network_of_the_zoo_is_the_same_in_every_replicate(name, tmp_path):
    weights = f"backbone.weights={name}"
    keys = [
        run_key(compose_config(["method=finetune", weights, *seeds]))
        for seeds in (["replicate=2"], ["seed=2", "split_seed=2"])
    ]
    assert keys[0] == keys[1]
    defining = run_config(compose_config(["method=zoo_tuning", weights, "replicate=2"]))
    assert defining["backbone"] == {"name": "glyphnet", "weights": name}
    assert defining["method"]["sources"]["marks"] == {"name": "glyphnet", "weights": "marks"}
    assert run_config(compose_config(["replicate=2"]))["backbone"]["seed"] == 2
    assert changed(defining) == [weights]
    networks = [glyphnet.load("glyphnet", tmp_path, weights=name, seed=seed).info for seed in (0, 1)]
    assert networks[0] == networks[1]
    refused(
        lambda: glyphnet.load("glyphnet_deep", tmp_path, weights=name, seed=0, depth=2),
        "choose glyphs, train or random",
    )


def test_co_tuning_refuses_a_network_without_source_classes(tmp_path):
    given = ["method=cotuning", "data=digits", "backbone.weights=rotation", f"results={tmp_path}", "device=cpu"]
    refused(
        lambda: runner.run(compose_config([*given, "protocol.updates=2"])),
        "method cotuning needs a source head, and the weights rotation of backbone glyphnet have no classifier",
    )
    assert not list(tmp_path.glob("records/*"))


def test_a_table_runs_the_parts_of_its_ensemble_before_it(tmp_path, monkeypatch, ask):
    monkeypatch.chdir(tmp_path)
    few = ["data=digits", "replicate=1", "protocol.updates=2", "device=cpu"]
    rows = "ensemble,finetune,finetune_marks,finetune_fonts,finetune_rotation,finetune_contrastive"
    done = ask("run", "table=desk_zoo", *few, f"method={rows}")
    assert "6 done, 0 failed, 0 skipped; 6 cells" in done.out
    assert len(list(tmp_path.glob("results/runs/*/model.safetensors"))) == 5


def test_the_zoo_s_tasks_are_those_of_the_package():
    assert (*TASKS,) == OTHERS
    assert [name for name, task in TASKS.items() if task.from_letters] == ["marks", "fonts", "rotation"]
    assert all(task.characters == glyphnet.CLASSES for name, task in TASKS.items() if name != "marks")
