"""Closed forms of transferability scores, against brute force."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from toy import toy_record

from cotune_bench.backbones.glyphnet import load
from cotune_bench.cli.rank_backbones import correlation_line, fine_tuned
from cotune_bench.storage.records import RecordStore
from cotune_bench.transferability import h_score, leep, log_evidence, logme, nce

RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 1, 0])
FEATURES = RNG.normal(size=(12, 3)) + LABELS[:, None] * [0.5, 0.0, -0.3]


def test_nce_of_a_worked_example():
    source, target = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]
    expected = (3 * math.log(3 / 4) + math.log(1 / 4)) / 6
    assert nce(source, target) == pytest.approx(expected, rel=1e-12)
    assert nce(target, target) == 0


def test_leep_is_the_likelihood_image_by_image():
    probabilities = RNG.dirichlet(np.ones(4), size=12)
    total = 0.0
    for row, label in zip(probabilities, LABELS, strict=True):
        shares = [probabilities[label == LABELS, s].sum() / probabilities[:, s].sum() for s in range(4)]
        total += math.log(sum(p * share for p, share in zip(row, shares, strict=True)))
    assert leep(probabilities, LABELS) == pytest.approx(total / 12, rel=1e-12)
    assert leep(np.eye(3)[LABELS], LABELS) == pytest.approx(0, abs=1e-12)


def test_leep_of_certain_sources_is_nce():
    source = np.array([0, 1, 1, 0, 2, 2, 0, 1, 2, 2, 1, 0])
    assert leep(np.eye(3)[source], LABELS) == pytest.approx(nce(source, LABELS), rel=1e-12)


def test_h_score_is_the_trace_of_covariances_written_out():
    means = np.array([FEATURES[label == LABELS].mean(axis=0) for label in LABELS])
    covariance, between = (np.cov(values.T, ddof=0) for values in (FEATURES, means))
    expected = np.trace(np.linalg.solve(covariance, between))
    assert h_score(FEATURES, LABELS) == pytest.approx(expected, rel=1e-9)
    assert h_score(np.hstack([FEATURES, FEATURES]), LABELS) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(12, 3), (6, 9)])
def test_log_evidence_is_the_largest_density_of_the_marginal_normal(shape):
    features = np.random.default_rng(1).normal(size=shape)
    targets = features[:, 0] + 0.7 * np.random.default_rng(2).normal(size=shape[0])

    def negative(logs: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        covariance = features @ features.T / alpha + np.eye(len(targets)) / beta
        return -stats.multivariate_normal.logpdf(targets, np.zeros(len(targets)), covariance) / len(targets)

    found = minimize(negative, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    assert log_evidence(features, targets) == pytest.approx(-found.fun, rel=1e-5)


def test_logme_is_the_mean_over_one_hot_targets():
    expected = np.mean([log_evidence(FEATURES, (label == LABELS).astype(float)) for label in range(3)])
    assert logme(FEATURES, LABELS) == pytest.approx(expected, rel=1e-12)
    informative = np.eye(3)[LABELS] + 0.01 * RNG.normal(size=(12, 3))
    assert logme(informative, LABELS) > logme(FEATURES, LABELS)


def test_ranks_are_correlated_to_the_records_of_the_same_weights_data_and_rate():
    usual = {"method": "finetune", "data": "digits", "rate": 0.15, "weights_sha256": "aa"}
    other = [{"method": "bss"}, {"data": "greek"}, {"rate": 1.0}, {"weights_sha256": "bb"}]
    records = [toy_record(accuracy=80.0, **usual), toy_record(accuracy=90.0, **usual)]
    records += [toy_record(accuracy=1.0, **{**usual, **one}) for one in other]
    assert fine_tuned(records, "digits", 0.15, "aa") == 85.0
    assert fine_tuned(records, "digits", 0.15, "cc") is None
    rows = [("a", (1.0, 3.0, 0.0, 1.0), 70.0), ("b", (2.0, 2.0, 5.0, 3.0), 80.0), ("c", (3.0, 1.0, 1.0, 2.0), 90.0)]
    line = correlation_line([*rows, ("d", (0.0, 0.0, 0.0, 0.0), None)])
    assert line.endswith("3 backbones): LogME +1.00, LEEP -1.00, NCE +0.33, H-score +0.33")
    assert correlation_line(rows[1:]).endswith("needs records of 3 backbones: 2 found.")


def test_fine_tuned_accuracy_stands_beside_the_scores(here, ask):
    sha = load("glyphnet", here, weights="glyphs", seed=0).info.sha256
    RecordStore(here / "results").add(
        toy_record(key="one", method="finetune", data="digits", rate=0.15, weights_sha256=sha, accuracy=77.25)
    )
    answer = ask("rank-backbones", "data=digits", "rate=0.15", "--backbones", "glyphnet")
    assert answer.code == 0
    for text in ("77.25", "1 found", "glyphnet", "LogME", "LEEP", "NCE", "H-score"):
        assert text in answer.out
