"""Category relationships: numbers worked out by hand, naive loops, scikit-learn as the second solver."""

import itertools
import logging
import math

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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_direct_relationships_of_a_worked_example(dtype):
    probabilities = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.4, 0.5, 0.1]], dtype)
    result = category_relationship(probabilities, [1, 0, 1])
    assert result.dtype == dtype
    np.testing.assert_allclose(result, [[0.6, 0.2, 0.2], [0.3, 0.4, 0.3]], rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(direct_relationship(probabilities, [1, 0, 1], 2), result)


def test_direct_relationship_gives_absent_classes_the_marginal(caplog):
    probabilities = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.4, 0.5, 0.1]])
    result = direct_relationship(probabilities, [2, 0, 2], 4)
    marginal = [0.4, 1 / 3, 0.8 / 3]
    np.testing.assert_allclose(result, [[0.6, 0.2, 0.2], marginal, [0.3, 0.4, 0.3], marginal], rtol=1e-14)
    assert ["[1, 3]" in message for message in warnings_in(caplog)] == [True]


@pytest.mark.parametrize("sources", [6, 130])  # fewer and more features than samples
def test_solver_agrees_with_scikit_learn_for_every_penalty(sources):
    train, labels, *_ = make_problem(sources=sources)
    fits = SoftmaxRegression(train, labels, 4).path((1e4, 10, 1e-3), 1e-12)
    for C, fit in fits.items():
        other = LogisticRegression(fit_intercept=False, C=C, tol=1e-10, max_iter=10000, solver="newton-cg")
        np.testing.assert_allclose(fit.weights, other.fit(train, labels).coef_, atol=1e-6)
        np.testing.assert_allclose(fit.weights.sum(axis=0), 0, atol=1e-10)


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


def test_bayes_keeps_rows_finite_where_probabilities_underflow():
    rows = _bayes(np.array([[0.0, 0, 0], [-5000, -5000 + math.log(3), 0]]), np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(rows, [[0.5, 0.5, 0], [0.25, 0.75, 0]], rtol=1e-9)


def coefficients(samples, labels, classes, C):
    """Weights (K, S) by scikit-learn, which fits one row u = w1 - w0 to two classes, at half the penalty."""
    strength = 2 * C if classes == 2 else C
    solver = LogisticRegression(fit_intercept=False, C=strength, tol=1e-10, max_iter=10000, solver="newton-cg")
    coef = solver.fit(samples, labels).coef_
    return np.concatenate([-coef / 2, coef / 2]) if classes == 2 else coef


@pytest.mark.parametrize(
    ("select", "classes", "calibrate", "seed", "grid"),
    [
        ("accuracy", 2, True, 3, GRID),
        ("accuracy", 4, True, 3, GRID),
        ("accuracy", 4, False, 3, GRID),
        ("nll", 4, True, 5, (0.1, 1.0, 10.0, 1000.0)),
        ("cv", 4, True, 3, (0.3, 3.0, 30.0)),
        ("cv", 4, False, 3, (0.3, 3.0, 30.0)),
    ],
)
def test_reverse_is_the_published_recipe(select, classes, calibrate, seed, grid):
    """The same steps in plain form, with scikit-learn as the solver."""
    train, labels, val, truth = make_problem(seed, classes=classes)
    given = train, labels, val, truth, classes, grid
    everything = np.concatenate([train, val])
    if select == "cv":
        train, labels = everything, np.concatenate([labels, truth])
        fold, truth = folds(labels), labels
        logits = {C: np.empty((len(train), classes)) for C in grid}
        for C, number in itertools.product(grid, range(5)):
            out = fold == number
            logits[C][out] = train[out] @ coefficients(train[~out], labels[~out], classes, C).T
    else:
        logits = {C: val @ coefficients(train, labels, classes, C).T for C in grid}
    right = {C: np.mean(logits[C].argmax(axis=1) == truth) for C in grid}
    likely = {C: log_softmax(logits[C], axis=1)[np.arange(len(truth)), truth].mean() for C in grid}
    best = max(grid, key=lambda C: ((likely if select == "nll" else right)[C], C))

    result, fit = reverse_relationship(*given, select=select, calibrate=calibrate, return_fit=True)
    assert (fit.grid, fit.C) == (grid, best)
    assert fit.accuracies == pytest.approx([right[C] for C in grid])
    np.testing.assert_allclose(fit.held_out_logits, logits[best], atol=1e-4)
    assert fit.held_out_labels.tolist() == truth.tolist()
    scale = 1 / fit_temperature(logits[best], truth) if calibrate else 1.0
    assert fit.scale == pytest.approx(scale, rel=1e-4 if select == "cv" else 1e-6)
    joint = softmax(scale * coefficients(train, labels, classes, best).T).T * everything.mean(axis=0)
    np.testing.assert_allclose(
        result, joint / joint.sum(axis=1, keepdims=True), atol=1e-5 if select == "cv" else 1e-7
    )
    assert max(fit.gradient_norms) <= RANKING
    assert fit.final_gradient_norm <= FINAL
    assert max(fit.steps) < 50


def test_the_number_of_threads_changes_nothing():
    problem = make_problem(0, 1000, 300, 200, 40)  # large enough for BLAS to share
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(reverse_relationship(*problem, 40, (1.0, 100.0)))
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_ties_go_to_the_largest_c():
    # far apart classes: every C is right on every validation sample
    train = np.array([[0.9, 0.1], [0.1, 0.9]] * 5)
    arguments = (train, [0, 1] * 5, train[:4], [0, 1, 0, 1], 2)
    _, fit = reverse_relationship(*arguments, grid=[1, 100, 10], calibrate=False, return_fit=True)
    assert fit.accuracies == (1, 1, 1)
    assert fit.C == 100


def test_folds_share_out_every_class_evenly():
    labels = np.array([1, 0, 1, 1, 0, 1, 1, 1, 2, 1])  # sorted: two of 0, seven of 1, one of 2
    assert folds(labels).tolist() == [2, 0, 3, 4, 1, 0, 1, 2, 4, 3]


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
