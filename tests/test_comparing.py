"""Comparisons within a budget: sums worked out on paper, made-up records, and the command from end to end."""

from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace

import pytest
from kept_runs import put_pets
from toy import toy_record
from trees import refused

from cotune_bench.cli import compare_methods
from cotune_bench.cli.budget import choose, has_time, seconds_of
from cotune_bench.cli.plan import Cost
from cotune_bench.config import compose_config
from cotune_bench.reports.recommendation import recommendation, scored
from cotune_bench.storage.records import Record
from cotune_bench.training import timing
from cotune_bench.training.interrupts import InterruptedRun
from cotune_bench.training.pace import Pace

SMALL = (
    *("backbone=resnet18", "backbone.weights=random", "protocol.batch_size=8", "protocol.resize=40"),
    *("protocol.crop=32", "protocol.threads=1", "protocol.views=center", "device=cpu", "protocol.updates=4"),
)


def pace(update: float, prepare: float = 0.0) -> Pace:
    return Pace(update, 0.0, 0, "abacus", prepare)


#: 5 s an update in all, and DELTA takes 200 s before.
PACES = {"finetune": pace(1.0), "l2sp": pace(1.0), "delta": pace(2.0, 200.0), "cotuning": pace(1.0)}


def costs(paces: dict[str, Pace] = PACES, updates: int = 900, evaluation: float = 10.0) -> dict[str, Cost]:
    return {method: Cost(updates, pace, evaluation) for method, pace in paces.items()}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90min", 5400), ("1h30m", 5400), ("1.5d", 129_600), ("2 H", 7200)],
)
def test_a_budget_is_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "2 hours", "0h", "-1h"])
def test_a_budget_that_is_not_a_time_is_refused(text):
    refused(lambda: seconds_of(text), "--budget")


@pytest.mark.parametrize(
    ("budget", "methods", "replicates", "updates", "seconds"),
    [
        # all of it: 3 x (5 s x 900 + 40) + 200 = 13,820
        (13_820 / 0.8, 4, 3, 900, 13_820),
        # 600 updates: 3 x 5 x 600 + 320 = 9,320
        (9320 / 0.8, 4, 3, 600, 9320),
        # 3 replicates of 300 updates, the least, are one second too long; 2: (4,819 - 280) / 10 = 453
        (4819 / 0.8, 4, 2, 450, 10 * 450 + 280),
        # without DELTA: 3 s an update, 2 x 30 s: (2,000 - 60) / 6 = 323
        (2000 / 0.8, 3, 2, 320, 6 * 320 + 60),
        # without L2-SP, too: 2 s an update: (1,300 - 40) / 4 = 315
        (1300 / 0.8, 2, 2, 310, 4 * 310 + 40),
        # fewer than a third of the updates: (600 - 40) / 4 = 140
        (600 / 0.8, 2, 2, 140, 4 * 140 + 40),
        # one replicate: (300 - 20) / 2 = 140
        (300 / 0.8, 2, 1, 140, 2 * 140 + 20),
    ],
)
def test_updates_are_cut_before_replicates_and_these_before_methods(budget, methods, replicates, updates, seconds):
    chosen = choose(costs(), replicates=3, budget=budget + 1e-6)
    assert (len(chosen.methods), chosen.replicates, chosen.updates) == (methods, replicates, updates)
    assert chosen.seconds == pytest.approx(seconds)
    assert {"finetune", "cotuning"} <= set(chosen.methods)
    text = "\n".join(chosen.lines())
    assert (f"{updates} instead of 900 updates" in text) == (updates < 900)
    assert (f"{replicates} instead of 3 replicates" in text) == (replicates < 3)
    assert ("without DELTA (2 s an update, 3 min before)" in text) == (methods < 4)


def test_a_budget_that_is_too_short_is_refused_with_the_time_needed():
    # two methods, one replicate, 100 updates: 2 x 100 + 20 = 220 s, of 0.8 of the budget
    refused(
        lambda: choose(costs(), replicates=3, budget=200),
        "the budget of 3 min is too short: Fine-tune and Co-Tuning with 100 updates need 5 min",
    )


def test_the_time_that_timing_took_is_part_of_the_budget():
    # 800 of 1,000 s are planned, 200 of them gone: 3 replicates have (800 - 200 - 60) / 6 = 90 updates, too few;
    # 2 replicates (800 - 200 - 40) / 4 = 140
    paces = {"finetune": pace(1.0), "cotuning": pace(1.0)}
    chosen = choose(costs(paces, 150), replicates=3, budget=1000, timing=200.0)
    assert (chosen.updates, chosen.replicates, chosen.seconds) == (140, 2, 800)
    assert "about 13 min of 17 min (timed on abacus, which took 3 min of them)" in chosen.lines()[0]
    assert has_time(chosen, found({"finetune": [80.0], "cotuning": [80.0]}, seconds=200.0), 1)  # 600, 400 to come
    assert not has_time(chosen, found({"finetune": [80.0], "cotuning": [80.0]}, seconds=201.0), 1)
    refused(
        lambda: choose(costs(paces, 150), replicates=3, budget=500, timing=200.0),
        "the budget of 8 min is too short: Fine-tune and Co-Tuning with 100 updates need 9 min",
    )


def found(validation: dict[str, list[float]], seconds: float = 60.0) -> dict:
    return {
        (seed, method): toy_record(
            key=f"{method}-{seed}",
            method=method,
            seed=seed,
            val_accuracy=value,
            accuracy=99.0 - value,
            seconds=seconds,
            config={"split_seed": seed, "protocol": {"val": 0.2, "split_order": "split_then_sample"}},
        )
        for method, values in validation.items()
        for seed, value in enumerate(values)
    }


def test_validation_recommends_and_the_test_images_give_the_verdict():
    runs = scored(found({"finetune": [80.0, 81.0, 82.0], "bss": [80.0, 82.0, 82.5], "cotuning": [90.0, 91.0, 92.1]}))
    assert list(dict.fromkeys(name for _, name in runs)) == ["cotuning", "bss", "finetune"]  # tests would reverse it
    text = "\n".join(recommendation(runs, 40))
    assert "Co-Tuning  91.03 ± 1.05  7.97 ± 1.05   60 s" in text
    assert (
        "Recommended: Co-Tuning, which has the highest validation accuracy over 3 replicates; one of the 40 " in text
    )
    assert "40 validation images is 2.5 points." in text
    assert "On the test images, which played no part in this: " in text
    assert "--replicates" in text

    near = found({"finetune": [80.0, 80.0], "cotuning": [81.0, 79.0]})
    for seed in (0, 1):
        near[seed, "finetune"] = toy_record(val_accuracy=80.0, seconds=1.0)
    assert next(name for _, name in scored(near)) == "finetune"  # of equal ones the quicker


def test_one_replicate_is_a_guess_and_one_that_a_method_lacks_does_not_count():
    runs = scored(found({"finetune": [80.0, 70.0], "cotuning": [90.0]}))
    assert list(runs) == [(0, "cotuning"), (0, "finetune")]
    text = "\n".join(recommendation(runs, 10))
    assert "Recommended: Co-Tuning, which has the highest validation accuracy of one replicate, a guess;" in text
    assert "no verdict: 1 replicate with runs of all methods, 2 are needed." in text
    assert scored({(0, "finetune"): toy_record(val_accuracy=1.0), (1, "bss"): toy_record(val_accuracy=1.0)}) == {}


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def compare(here, monkeypatch, ask):
    """The command on a folder of pictures, with a made-up pace and a clock that timing takes 20 s of."""
    monkeypatch.setattr(timing, "measure", lambda config, counts: pace(1.0))
    monkeypatch.setattr(compare_methods, "time", SimpleNamespace(monotonic=cycle([0.0, 20.0]).__next__))
    put_pets(here / "my pets")
    return lambda *given: ask("compare-methods", "--data", "my pets", "--methods", "finetune,bss", *given, *SMALL)


def test_a_comparison_stops_and_continues_and_ends_with_a_recommendation(here, compare, monkeypatch):
    run, runs = compare_methods.runner.run, []

    def killed_at_the_third(config, **options):
        runs.append((config.method.name, config.seed))
        if len(runs) == 3:
            raise InterruptedRun(2)
        return run(config, **options)

    asked = ("--budget", "1h", "--replicates", "2")
    monkeypatch.setattr(compare_methods.runner, "run", killed_at_the_third)
    done = compare(*asked)
    assert (done.code, "Recommended" in done.out) == (130, False)
    assert runs == [("finetune", 0), ("bss", 0), ("finetune", 1)]
    monkeypatch.setattr(timing, "measure", None)  # the plan is kept
    done = compare(*asked)
    assert done.code == 0
    assert len(list((here / "results/records").iterdir())) == 4
    assert "plan: Fine-tune, BSS; 2 replicates, 4 updates each: 4 runs, about 36 s of 60 min" in done.err
    assert "Recommended: " in done.out
    assert "  cotune-bench predict my-pets-" in done.out
    (text,) = (here / "results/comparisons").glob("my-pets-*.txt")
    assert text.read_text() in done.out + "\n"
    assert "images changed" not in done.out
    path = next((here / "results/records").iterdir())
    path.write_text(replace(Record.from_json(path.read_text()), data_sha256="abcd").to_json())
    assert "Warning: the images changed between these runs; with force=true" in compare(*asked).out


def test_a_failed_run_costs_its_replicate(compare, monkeypatch):
    run = compare_methods.runner.run

    def failing(config, **options):
        if (config.method.name, config.seed) == ("bss", 1):
            raise RuntimeError("out of luck")
        return run(config, **options)

    monkeypatch.setattr(compare_methods.runner, "run", failing)
    done = compare("--budget", "1h", "--replicates", "2", "results=my results")
    assert done.code == 1
    assert "bss replicate 1 failed: RuntimeError: out of luck" in done.err
    assert "of one replicate, a guess" in done.out
    assert "PICTURE... results='my results'" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "soon"], "--budget soon"),
        (["--budget", "1h", "--methods", "finetune,bs"], "did you mean bss?"),
        (["--budget", "1h", "--methods", "bss"], "two methods"),
        (["--budget", "1h", "--data", "none"], "none is missing"),
        (["--budget", "1h", "protocol.val=0"], "no validation images"),
        (["--budget", "1s"], "the budget of 1 s is too short"),
        (["--budgit", "1h"], "--budget"),
        (["--budget", "1h", "method=bss"], "method=bss has no place here: give --methods"),
        (["--budget", "1h", "data=digits"], "data=digits has no place here: give --data FOLDER"),
    ],
)
def test_bad_input_is_one_line_and_nothing_runs(here, compare, arguments, message):
    done = compare(*arguments)
    assert done.code == 2
    assert message in done.err.splitlines()[-1]
    assert not (here / "results").exists()


def test_absent_weights_are_reported_before_anything_is_timed(here, ask):
    put_pets(here / "pets")
    done = ask("compare-methods", "--data", "pets", "--budget", "1h", *SMALL, "backbone.weights=lost.pth")
    assert done.code == 2
    assert "backbone.weights=lost.pth is no file" in done.err.splitlines()[-1]
    assert "timing" not in done.err


def test_subsets_are_methods_that_any_backbone_of_one_source_can_take():
    assert compare_methods.methods_of("classic") == ["finetune", "l2sp", "delta", "bss", "cotuning"]
    assert compare_methods.methods_of("bss,lora") == ["bss", "lora"]
    for name, methods in compare_methods.SUBSETS.items():
        assert "finetune" in methods
        assert compare_methods.methods_of(name) == list(dict.fromkeys(methods))
        sections = [compose_config([f"method={method}"]).method for method in methods]
        assert not any({"sources", "parts", "of"} & set(section) for section in sections)
    assert set(compare_methods.SUBSETS["quick"]) | set(compare_methods.CLASSIC) <= set(compare_methods.SUBSETS["all"])
    refused(lambda: compare_methods.methods_of("quik"), "quik", "is unknown")
