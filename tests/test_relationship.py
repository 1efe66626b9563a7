"""Category relationships: numbers worked out by hand, naive loops, scikit-learn as the second solver."""

import itertools
import logging
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from cotune_bench.errors import UserError
from cotune_bench.penalty_trials import RANKING, folds
from cotune_bench.relationship import (
    FINAL,
    GRID,
    _bayes,
    category_relationship,
    direct_relationship,
    fit_temperature,
    reverse_relationship,
    softmax,
)
from cotune_bench.softmax_regression import SoftmaxRegression


def make_problem(seed=0, train=90, val=60, sources=6, classes=4):
    """Noisy probabilities (N, S) whose logits depend on the class, and labels, for training and validation."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, sources))
    parts = []
    for count in (train, val):
        labels = np.arange(count) % classes
        parts += [softmax(centres[labels] + rng.normal(size=(count, sources))), labels]
    return parts


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- softmax and temperature


def test_softmax_divides_by_the_temperature():
    np.testing.assert_allclose(softmax([[0.0, 2 * math.log(3)]], 2.0), [[0.25, 0.75]], rtol=1e-15)
    assert softmax(np.array([[1e4, 0]], np.float32)).dtype == np.float32
    with pytest.raises(UserError, match="temperature"):
        softmax([[0.0, 1.0]], 0)


@pytest.mark.parametrize(("right", "margin"), [(8, 1.5), (6, 0.01), (9, 40.0)])
def test_temperature_of_two_classes_in_closed_form(right, margin):
    # sigmoid(2 a / t) = q, so 1/t = logit(q) / (2 a)
    logits = np.tile([margin, -margin], (10, 1))
    labels = [0] * right + [1] * (10 - right)
    expected = 2 * margin / math.log(right / (10 - right))
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-10)


def test_temperature_follows_the_scale_of_the_logits_and_minimises_the_loss():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(300, 5)) * 2
    labels = np.array([rng.choice(5, p=p) for p in softmax(logits)])
    t = fit_temperature(logits, labels)
    assert t == pytest.approx(1, abs=0.2)
    assert fit_temperature(2 * logits, labels) == pytest.approx(2 * t, rel=1e-10)
    # classes share a constant: no change, and no overflow
    assert fit_temperature(logits + 1e5, labels) == pytest.approx(t, rel=1e-8)

    def loss(s):
        return -log_softmax(s * logits, axis=1)[np.arange(300), labels].mean()

    found = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9})
    assert 1 / t == pytest.approx(found.x, rel=1e-6)


@pytest.mark.parametrize(("labels", "expected"), [([0, 0, 0], 1e-3), ([1, 1, 1], 1e6)])
def test_degenerate_calibration_gives_the_bound_and_a_warning(labels, expected, caplog):
    t = fit_temperature([[2.0, -1.0], [1.0, 0.0], [700.0, 0.0]], labels)
    assert t == pytest.approx(expected, rel=1e-12)
    assert ["degenerate" in message for message in warnings_in(caplog)] == [True]


# -- direct


def test_category_relationship_by_hand():
    probabilities = [[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.4, 0.5, 0.1]]
    result = category_relationship(probabilities, [1, 0, 1])
    np.testing.assert_allclose(result, [[0.6, 0.2, 0.2], [0.3, 0.4, 0.3]], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_category_relationship_is_the_mean_per_class(dtype):
    probabilities, labels, *_ = make_problem()
    probabilities = probabilities.astype(dtype)
    expected = np.stack([probabilities[labels == k].mean(axis=0) for k in range(4)])
    result = category_relationship(probabilities, labels)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)
    np.testing.assert_array_equal(direct_relationship(probabilities, labels, 4), result)


def test_direct_relationship_gives_absent_classes_the_marginal(caplog):
    probabilities = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.4, 0.5, 0.1]])
    result = direct_relationship(probabilities, [2, 0, 2], 4)
    marginal = [0.4, 1 / 3, 0.8 / 3]
    np.testing.assert_allclose(result, [[0.6, 0.2, 0.2], marginal, [0.3, 0.4, 0.3], marginal], rtol=1e-14)
    assert ["[1, 3]" in message for message in warnings_in(caplog)] == [True]


# -- solver


@pytest.mark.parametrize("sources", [6, 130])  # fewer and more features than samples
def test_solver_agrees_with_scikit_learn(sources):
    train, labels, *_ = make_problem(sources=sources)
    fits = SoftmaxRegression(train, labels, 4).path((1e4, 10, 1e-3), 1e-12)
    for C, fit in fits.items():
        other = LogisticRegression(fit_intercept=False, C=C, tol=1e-10, max_iter=10000, solver="newton-cg")
        np.testing.assert_allclose(fit.weights, other.fit(train, labels).coef_, atol=1e-6)
        np.testing.assert_allclose(fit.weights.sum(axis=0), 0, atol=1e-10)


def test_solver_converges_on_its_own_gradient_and_the_gradient_is_that_of_the_loss():
    train, labels, *_ = make_problem()
    regression = SoftmaxRegression(train, labels, 4)
    fit = regression.fit(100.0, np.zeros((4, 6)), 1e-11)
    residual = softmax(train @ fit.weights.T) - np.eye(4)[labels]
    gradient = (residual.T @ train + fit.weights / 100) / len(train)
    assert abs(gradient).max() <= 2e-11
    assert 1 < fit.steps < 50

    def loss(weights):
        return -log_softmax(train @ weights.T, axis=1)[np.arange(90), labels].sum() + (weights**2).sum() / 200

    rng = np.random.default_rng(0)
    for _ in range(5):
        assert loss(fit.weights + 0.01 * rng.normal(size=(4, 6))) > loss(fit.weights)


@pytest.mark.parametrize(("dtype", "precision"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_residual_is_softmax_minus_one_hot_and_keeps_the_digits_of_samples_that_are_all_right(dtype, precision):
    train, labels, *_ = make_problem()
    regression = SoftmaxRegression(train, labels, 4)
    logits = 30 * np.eye(4)[labels] + train[:, :4]
    residual = regression.residual(logits, np.dtype(dtype))
    others = softmax(logits) * (1 - np.eye(4)[labels])
    np.testing.assert_allclose(
        residual, others - np.eye(4)[labels] * others.sum(axis=1, keepdims=True), rtol=precision
    )
    assert residual.dtype == dtype


def test_solver_finds_the_same_from_any_start():
    train, labels, *_ = make_problem()
    regression = SoftmaxRegression(train, labels, 4)
    near = regression.fit(3.0, np.zeros((4, 6)), 1e-11)
    far = regression.fit(3.0, np.random.default_rng(0).normal(size=(4, 6)) * 1000, 1e-11)
    np.testing.assert_allclose(far.weights, near.weights, atol=1e-7)


def test_solver_says_when_it_does_not_converge(caplog):
    train, labels, *_ = make_problem()
    SoftmaxRegression(train, labels, 4).fit(1e4, np.zeros((4, 6)), 0.0)
    assert any("C=10000 stopped" in message for message in warnings_in(caplog))


# -- reverse


def test_bayes_by_hand():
    # p(target | source): source 0 -> (3/4, 1/4), source 1 -> (1/2, 1/2); p(source) = (0.4, 0.6)
    # joint: target 0: 0.3, 0.3; target 1: 0.1, 0.3
    weights = np.array([[math.log(3), 0], [0, 0]])
    np.testing.assert_allclose(_bayes(weights, np.array([0.4, 0.6])), [[0.5, 0.5], [0.25, 0.75]], rtol=1e-15)


def test_bayes_keeps_rows_finite_where_probabilities_underflow():
    rows = _bayes(np.array([[0.0, 0, 0], [-5000, -5000 + math.log(3), 0]]), np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(rows, [[0.5, 0.5, 0], [0.25, 0.75, 0]], rtol=1e-9)


@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.parametrize("classes", [2, 4])
def test_reverse_is_the_published_recipe(classes, calibrate):
    """The same steps in plain form, with scikit-learn (or scipy, for two classes) as the solver."""
    train, labels, val, truth = make_problem(seed=3, classes=classes)
    result, fit = reverse_relationship(train, labels, val, truth, classes, calibrate=calibrate, return_fit=True)
    weights, accuracies = {}, {}
    for C in GRID:
        # in two classes scikit-learn fits one row u = w1 - w0, whose penalty is half of the two rows'
        strength = 2 * C if classes == 2 else C
        other = LogisticRegression(fit_intercept=False, C=strength, tol=1e-10, max_iter=10000, solver="newton-cg")
        coef = other.fit(train, labels).coef_
        weights[C] = np.concatenate([-coef / 2, coef / 2]) if classes == 2 else coef
        accuracies[C] = np.mean((val @ weights[C].T).argmax(axis=1) == truth)
    best = max(accuracies, key=lambda C: (accuracies[C], C))
    assert fit.grid == GRID
    assert fit.accuracies == pytest.approx([accuracies[C] for C in GRID])
    assert best == fit.C
    s1 = 1 / fit_temperature(val @ weights[best].T, truth) if calibrate else 1.0
    assert fit.scale == pytest.approx(s1, rel=1e-6)
    conditional = softmax(s1 * weights[best].T).T
    joint = conditional * np.concatenate([train, val]).mean(axis=0)
    np.testing.assert_allclose(result, joint / joint.sum(axis=1, keepdims=True), atol=1e-7)
    assert max(fit.gradient_norms) <= RANKING
    assert fit.final_gradient_norm <= FINAL
    assert max(fit.steps) < 50


def test_the_number_of_threads_changes_nothing():
    problem = make_problem(0, 1000, 300, 200, 40)  # large enough for BLAS to share
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(reverse_relationship(*problem, 40, (1.0, 100.0)))
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-9)


def test_ties_go_to_the_largest_c():
    # far apart classes: every C is right on every validation sample
    train = np.array([[0.9, 0.1], [0.1, 0.9]] * 5)
    arguments = (train, [0, 1] * 5, train[:4], [0, 1, 0, 1], 2)
    _, fit = reverse_relationship(*arguments, grid=[1, 100, 10], calibrate=False, return_fit=True)
    assert fit.accuracies == (1, 1, 1)
    assert fit.C == 100


def test_nll_chooses_the_least_validation_loss():
    train, labels, val, truth = make_problem(seed=5)
    grid = (0.1, 1.0, 10.0, 1000.0)
    _, fit = reverse_relationship(train, labels, val, truth, 4, grid, select="nll", return_fit=True)
    losses = {}
    for C in grid:
        one = SoftmaxRegression(train, labels, 4).fit(C, np.zeros((4, 6)), 1e-9)
        losses[C] = -log_softmax(val @ one.weights.T, axis=1)[np.arange(60), truth].mean()
    assert fit.C == min(losses, key=losses.__getitem__) == 10.0
    np.testing.assert_allclose(fit.held_out_labels, truth)


def test_folds_share_out_every_class_evenly():
    labels = np.array([1, 0, 1, 1, 0, 1, 1, 1, 2, 1])  # sorted: two of 0, seven of 1, one of 2
    assert folds(labels).tolist() == [2, 0, 3, 4, 1, 0, 1, 2, 4, 3]


@pytest.mark.parametrize("calibrate", [True, False])
def test_cross_validation_holds_each_sample_out_once(calibrate):
    """The same steps in plain form, with scikit-learn as the solver."""
    train, labels, val, truth = make_problem(seed=3, train=40, val=23)
    samples, everything = np.concatenate([train, val]), np.concatenate([labels, truth])
    fold, grid = folds(everything), (0.3, 3.0, 30.0)

    def solve(C, rows):
        regression = LogisticRegression(fit_intercept=False, C=C, tol=1e-10, max_iter=10000, solver="newton-cg")
        return regression.fit(samples[rows], everything[rows]).coef_

    logits = {C: np.empty((63, 4)) for C in grid}
    for C, number in itertools.product(grid, range(5)):
        logits[C][fold == number] = samples[fold == number] @ solve(C, fold != number).T
    right = {C: np.mean(logits[C].argmax(axis=1) == everything) for C in grid}
    best = max(grid, key=lambda C: (right[C], C))
    result, fit = reverse_relationship(
        train, labels, val, truth, 4, grid, select="cv", calibrate=calibrate, return_fit=True
    )
    assert best == fit.C
    assert fit.accuracies == pytest.approx([right[C] for C in grid])
    np.testing.assert_allclose(fit.held_out_logits, logits[best], atol=1e-4)
    assert fit.held_out_labels.tolist() == everything.tolist()
    scale = 1 / fit_temperature(logits[best], everything) if calibrate else 1.0
    assert fit.scale == pytest.approx(scale, rel=1e-4)
    joint = softmax(scale * solve(best, slice(None)).T).T * samples.mean(axis=0)
    np.testing.assert_allclose(result, joint / joint.sum(axis=1, keepdims=True), atol=1e-5)
    # which images are for training and which for validation makes no difference
    pooled = reverse_relationship(val, truth, train, labels, 4, (best,), select="cv", calibrate=False)
    alone = reverse_relationship(train, labels, val, truth, 4, (best,), select="cv", calibrate=False)
    np.testing.assert_allclose(pooled, alone, atol=1e-7)


@pytest.mark.parametrize("select", ["nll", "cv"])
def test_the_fewest_samples_are_enough(select):
    result = reverse_relationship([[0.9, 0.1]], [0], [[0.2, 0.8]], [1], 2, select=select, calibrate=False)
    np.testing.assert_allclose(result.sum(axis=1), 1)


def test_all_right_on_validation_is_reported_and_stays_finite(caplog):
    train = np.array([[0.9, 0.1], [0.1, 0.9]] * 5)
    result, fit = reverse_relationship(train, [0, 1] * 5, train[:4], [0, 1, 0, 1], 2, return_fit=True)
    assert fit.scale == pytest.approx(1e3)
    np.testing.assert_allclose(result, np.eye(2), atol=1e-12)
    assert ["degenerate" in message for message in warnings_in(caplog)] == [True]


def test_a_class_without_training_samples_keeps_its_row():
    train, labels, val, truth = make_problem()
    kept = labels != 1
    result, fit = reverse_relationship(train[kept], labels[kept], val, truth, 5, return_fit=True)
    assert result.shape == (5, 6)
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-12)
    # classes 1 and 4 were never seen, so nothing tells them apart, and class 1's validation samples are all wrong
    np.testing.assert_allclose(result[1], result[4], atol=1e-6)
    assert max(fit.accuracies) <= 0.75


def test_reverse_keeps_float32_and_takes_lists():
    train, labels, val, truth = make_problem()
    wide = reverse_relationship(train.tolist(), labels.tolist(), val.tolist(), truth.tolist(), 4)
    narrow = reverse_relationship(np.float32(train), labels, np.float32(val), truth, 4)
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(narrow, wide, atol=1e-4)


# -- bad input

HALVES = np.full((3, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: category_relationship([0.5, 0.5], [0, 1]), "pretrain_prob has shape"),
        (lambda: category_relationship(HALVES, [0, 1]), "target_labels has shape"),
        (lambda: category_relationship(HALVES, [0, 2, 0]), "no sample of class 1"),
        (lambda: category_relationship(HALVES, [0, -1, 0]), "target_labels has values from -1"),
        (lambda: category_relationship(HALVES, [0.0, 1.0, 0.0]), "target_labels has type float64"),
        (lambda: category_relationship(HALVES * np.nan, [0, 1, 0]), "not finite"),
        (lambda: category_relationship(np.empty((0, 2)), np.empty(0, int)), "pretrain_prob has shape"),
        (lambda: direct_relationship(HALVES * 3, [0, 1, 0], 2), "apply softmax"),
        (lambda: direct_relationship(HALVES, [0, 1, 2], 2), r"labels run from 0\.\.1"),
        (lambda: direct_relationship(HALVES, [0, 1, 1], 0), "num_classes is 0"),
        (lambda: direct_relationship(HALVES.astype(str), [0, 1, 1], 2), "real numbers"),
        (lambda: fit_temperature(HALVES, [[0], [1], [0]]), r"labels has shape \(3, 1\)"),
        (lambda: fit_temperature(HALVES, [0, 1, 2]), r"labels run from 0\.\.1"),
        (lambda: reverse_relationship(HALVES, [0, 1, 0], HALVES, [0, 1], 2), "val_labels has shape"),
        (lambda: reverse_relationship(HALVES, [0, 1, 0], HALVES, [0, 1, 1], 2, grid=[1, 0]), "grid is"),
        (lambda: reverse_relationship(HALVES, [0, 1, 0], HALVES, [0, 1, 1], 2, grid=[]), "grid is"),
        (lambda: reverse_relationship(HALVES, [0, 1, 0], HALVES, [0, 1, 1], 2, select="luck"), "select is 'luck'"),
        (lambda: reverse_relationship(HALVES, [0, 1, 0], np.ones((3, 1)), [0, 1, 1], 2), "1 source classes"),
    ],
)
def test_bad_input_is_named_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_module_does_not_load_torch():
    code = "import sys, cotune_bench.relationship; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
