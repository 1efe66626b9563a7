"""Co-Tuning's relationship of a run: how C is selected, what is cached apart, which calibration is kept."""

import csv

import numpy as np
import pytest
import torch
from conftest import make_backbone, make_data

from cotune_bench.errors import UserError
from cotune_bench.methods.cotuning import CoTuning
from cotune_bench.relationship import reverse_relationship


def source_probabilities(part, backbone) -> np.ndarray:
    """Of one centre view, as the calibrated source head gives them."""
    with torch.no_grad():
        logits = backbone.eval()(part.take(np.arange(len(part)))[:, 0]).double()
    return torch.softmax(logits / backbone.info.temperature, dim=1).numpy()


def test_the_selection_reaches_the_formula_and_the_calibration(cache):
    data = make_data(rate=0.5)
    train, val = (source_probabilities(part, make_backbone()) for part in (data.plain, data.val))
    for number, select in enumerate(("accuracy", "nll", "cv"), start=1):
        found = CoTuning(make_backbone(), 3, select=select)
        found.prepare(data, cache)
        expected = reverse_relationship(train, data.plain.labels, val, data.val.labels, 3, select=select)
        np.testing.assert_allclose(found.relationship, expected, atol=1e-4)
        assert len(list((cache.folder / "relationship").glob("*.arrays"))) == number
        # the kept calibration is that of the images that were held out
        rows = list(csv.DictReader(found.artifacts()["calibration.csv"].splitlines()))
        images = sum(int(row["images"]) for row in rows if row["state"] == "before")
        assert images == len(data.val) + (len(data.plain) if select == "cv" else 0)


def test_an_unknown_selection_is_named():
    with pytest.raises(UserError, match=r"method\.select=luck is unknown: choose accuracy, nll, cv"):
        CoTuning(make_backbone(), 3, select="luck")
