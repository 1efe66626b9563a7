"""The run that a key, its beginning or a folder names."""

from pathlib import Path

import pytest
from test_records import make_record
from trees import refused

from cotune_bench.storage.find_run import Run, find_run, run_keys
from cotune_bench.storage.records import RecordStore

BSS, OTHER, LATER = (f"toy-bss-rate0.15-seed{seed}-0123456789" for seed in (1, 2, 10))


@pytest.fixture
def results(tmp_path) -> Path:
    """Two records, and a run that has begun."""
    folder = tmp_path / "results"
    for key in (BSS, OTHER):
        RecordStore(folder).add(make_record(key))
    (folder / "runs" / LATER).mkdir(parents=True)
    return folder


def test_a_key_its_beginning_and_the_folder_mean_the_same_run(results):
    run = Run(OTHER, results / "runs" / OTHER, make_record(OTHER))
    assert find_run(results, OTHER) == find_run(results, "toy-bss-rate0.15-seed2") == run
    run.folder.mkdir()
    assert find_run(Path("elsewhere"), f"{run.folder}/") == run
    assert find_run(results, LATER).record is None
    assert run_keys(results) == sorted([BSS, OTHER, LATER])


def test_a_whole_key_wins_over_longer_ones(results):
    RecordStore(results).add(make_record(f"{BSS}-more"))
    assert find_run(results, BSS).key == BSS


def test_of_a_run_done_again_the_newest_record_counts(results):
    again = make_record(BSS, accuracy=50.0, finished="2027-01-01T00:00:00.000+00:00")
    RecordStore(results).add(again, again=True)
    assert find_run(results, BSS).record == again
    assert run_keys(results).count(BSS) == 1


def test_several_runs_are_listed_and_none_is_guessed(results):
    refused(lambda: find_run(results, "toy-bss-rate0.15-seed1"), "means 2 runs", BSS, LATER)
    for seed in range(20, 30):
        (results / "runs" / f"toy-l2sp-seed{seed}").mkdir()
    refused(lambda: find_run(results, "toy-l2sp"), "means 10 runs", "toy-l2sp-seed27 and 2 more")


def test_an_unknown_run_is_refused_with_the_nearest(results):
    refused(lambda: find_run(results, BSS.replace("bss", "bbs")), "is no run of", "3 there", f"did you mean {BSS}")
    refused(lambda: find_run(results, ""), "is no run of", "cotune-bench results list")
    refused(lambda: find_run(results / "none", BSS), "0 there")


def test_a_damaged_record_is_named(results):
    path = RecordStore(results).path(BSS)
    path.write_text("{}", encoding="utf-8")
    refused(lambda: find_run(results, BSS), str(path), "cannot be read")
