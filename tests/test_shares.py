"""Category relationships in words and as files, and calibration by hand."""

import numpy as np
import pytest
from conftest import make_backbone, make_data

from cotune_bench import metrics
from cotune_bench.methods.cotuning import CoTuning
from cotune_bench.storage import calibration_file, relationship_file

SOURCES = ("Indian elephant", "tusker", "crane", "crane", 'a "quoted", name')
ROWS = [[0.3, 0.26, 0.25, 0.0, 0.19], [0.0, 0.0, 0.00001, 0.99999, 0.0]]


def test_the_papers_sentence():
    told = relationship_file.shares(ROWS[0], SOURCES)
    assert relationship_file.in_words(told, 2) == "30 % Indian elephant + 26 % tusker + 44 % others"
    assert (
        relationship_file.in_words(told, 4)
        == '30 % Indian elephant + 26 % tusker + 25 % crane + 19 % a "quoted", name'
    )
    assert relationship_file.in_words(relationship_file.shares(ROWS[1], SOURCES), 1) == "100 % crane"


def test_relationship_survives_its_file():
    text = relationship_file.to_csv(ROWS, ("elephant", "b & <c>"), SOURCES)
    found = relationship_file.from_csv(text)
    assert list(found) == ["elephant", "b & <c>"]
    assert [share.number for share in found["elephant"]] == [0, 1, 2, 4]
    assert found["elephant"] == [share for share in relationship_file.shares(ROWS[0], SOURCES) if share.percent]
    # a thousandth of a percent is left out; two classes of one name stay two
    assert found["b & <c>"] == [relationship_file.Share(3, "crane", 100.0)]
    with pytest.raises(ValueError, match="columns"):
        relationship_file.from_csv("a,b\n1,2\n")


def test_reliability_of_a_worked_example():
    probabilities = [[0.9, 0.1], [0.95, 0.05], [0.4, 0.6], [0.45, 0.55], [1.0, 0.0]]
    told = metrics.reliability(probabilities, [0, 1, 1, 1, 0], 2.0)
    # 0.9 belongs to the bin (0.8, 0.9], 0.6 to (0.5, 0.6]
    expected = [(5, 2, 0.575, 1.0), (8, 1, 0.9, 1.0), (9, 2, 0.975, 0.5)]
    assert [one[:2] for one in told.bins] == [one[:2] for one in expected]
    np.testing.assert_allclose([one[2:] for one in told.bins], [one[2:] for one in expected], rtol=1e-12)
    assert told.images == 5
    assert told.error == pytest.approx((2 * 0.425 + 0.1 + 2 * 0.475) / 5)
    states = {"before": told, "after": metrics.reliability(probabilities, [0, 0, 1, 1, 0], 1.0)}
    assert calibration_file.from_csv(calibration_file.to_csv(states)) == states
    with pytest.raises(ValueError, match="0 lines"):
        calibration_file.from_csv(",".join(calibration_file.COLUMNS) + "\n")


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({}, {relationship_file.FILE, calibration_file.FILE}),
        ({"calibrate": "source"}, {relationship_file.FILE}),
        ({"relationship": "direct"}, {relationship_file.FILE}),
    ],
)
def test_co_tuning_leaves_what_it_prepared_cached_or_not(options, files, cache):
    data = make_data()
    left = []
    for _ in range(2):
        method = CoTuning(make_backbone(), 3, **options)
        assert method.artifacts() == {}
        method.prepare(data, cache)
        left.append(method.artifacts())
    assert left[0] == left[1]
    assert left[0].keys() == files
    found = relationship_file.from_csv(left[0][relationship_file.FILE])
    for name, row in zip(data.classes, method.relationship.numpy(), strict=True):
        assert {one.number: one.percent for one in found[name]} == pytest.approx(
            {number: 100 * value for number, value in enumerate(row) if 100 * value >= relationship_file.LEAST},
            rel=1e-3,
        )
    if calibration_file.FILE in files:
        states = calibration_file.from_csv(left[0][calibration_file.FILE])
        assert list(states) == ["before", "after"]
        assert {state.images for state in states.values()} == {len(data.val)}
        assert states["before"].temperature == 1.0
        right = [sum(images * share for _, images, _, share in state.bins) for state in states.values()]
        assert right[0] == pytest.approx(right[1])  # a temperature changes no prediction
