"""Metrics of labels, against scikit-learn's."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
    roc_auc_score,
)

from medsiglip_search.evaluate import metrics

CASES = range(120)
EQUAL = {"rel": 0, "abs": 1e-9}


def case(seed: int, resamples: int = 3) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    """Return scores with many ties, what is present (both kinds), and weights: ones, whole numbers, any."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 80))
    scores = random.integers(-4, 5, count) / 4 if seed % 3 else random.standard_normal(count)
    scores = scores.astype(np.float32)
    present = random.random(count) < random.uniform(0.05, 0.95)
    present[random.permutation(count)[:2]] = True, False
    weights = np.ones((count, resamples))
    weights[:, 1] = random.integers(0, 4, count)
    weights[:, 2:] = random.random((count, resamples - 2))
    return random, scores, present, weights


def is_defined(present: np.ndarray, weight: np.ndarray) -> bool:
    return bool(weight[present].sum() > 0 and weight[~present].sum() > 0)


def test_auc_and_average_precision_are_those_of_scikit_learn_with_ties_and_weights() -> None:
    compared = 0
    for seed in CASES:
        _, scores, present, weights = case(seed)
        curve = metrics.curve(metrics.ranked(scores, present), weights)
        aucs, precisions = metrics.auc(curve), metrics.average_precision(curve)
        for weight, auc, precision in zip(weights.T, aucs, precisions, strict=True):
            if not is_defined(present, weight):
                assert np.isnan([auc, precision]).all()
                continue
            assert auc == pytest.approx(roc_auc_score(present, scores, sample_weight=weight), **EQUAL)
            expected = average_precision_score(present, scores, sample_weight=weight)
            assert precision == pytest.approx(expected, **EQUAL)
            compared += 1
    assert compared > 300


def test_f1_sensitivity_and_specificity_are_those_of_scikit_learn() -> None:
    for seed in CASES:
        _, scores, present, weights = case(seed)
        decided = scores > 0.1
        counts = metrics.counts(decided[:, None], present[:, None].astype(np.int8), weights)
        figures = [metrics.f1(counts)[0], metrics.sensitivity(counts)[0], metrics.specificity(counts)[0]]
        for number, weight in enumerate(weights.T):
            if not is_defined(present, weight):
                continue
            expected = [
                f1_score(present, decided, sample_weight=weight),
                recall_score(present, decided, sample_weight=weight),
                recall_score(present, decided, pos_label=False, sample_weight=weight),
            ]
            assert [figure[number] for figure in figures] == pytest.approx(expected, **EQUAL)


def test_accuracy_and_balanced_accuracy_are_those_of_scikit_learn() -> None:
    for seed in CASES:
        random, scores, _, weights = case(seed)
        true, best = random.integers(0, 4, (2, len(scores)))
        accuracy = metrics.accuracy(true == best, weights)
        balanced = metrics.balanced_accuracy(true == best, true, weights)
        for weight, one, other in zip(weights.T, accuracy, balanced, strict=True):
            if not weight.sum():
                assert np.isnan([one, other]).all()
                continue
            assert one == pytest.approx(accuracy_score(true, best, sample_weight=weight), **EQUAL)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # labels that only decisions have
                expected = balanced_accuracy_score(
                    true[weight > 0], best[weight > 0], sample_weight=weight[weight > 0]
                )
            assert other == pytest.approx(expected, **EQUAL)


def test_calibration_error_is_the_weighted_mean_gap_of_fifteen_bins() -> None:
    for seed in CASES:
        random, _, present, weights = case(seed)
        probabilities = random.random(len(present))
        probabilities[: len(present) // 3] = random.integers(0, 16, len(present) // 3) / 15  # on the edges
        errors = metrics.calibration_error(probabilities, present, weights)
        for weight, error in zip(weights.T, errors, strict=True):
            expected = 0.0
            for number in range(15):
                low, high = np.linspace(0, 1, 16)[number : number + 2]
                inside = (probabilities > low) & (probabilities <= high)
                inside |= (number == 0) & (probabilities == 0)
                if mass := weight[inside].sum():
                    mean = np.average(probabilities[inside], weights=weight[inside])
                    shown = np.average(present[inside], weights=weight[inside])
                    expected += mass * abs(mean - shown)
            if weight.sum():
                assert error == pytest.approx(expected / weight.sum(), **EQUAL)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([0.9, 0.9, 0.9, 0.9, 0.1])
    present = np.array([True, True, True, False, False])
    # four at 0.9 of which three are there, one at 0.1 that is not
    assert metrics.calibration_error(probabilities, present, np.ones((5, 1)))[0] == pytest.approx(
        0.8 * 0.15 + 0.2 * 0.1
    )


def test_images_whose_truth_is_not_known_are_left_out() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    present = np.array([1, -1, 0, 1, -1], np.int8)
    ones, known = np.ones((5, 1)), present >= 0
    curve = metrics.curve(metrics.ranked(scores, present), ones)
    assert metrics.auc(curve).tolist() == [roc_auc_score(present[known], scores[known])]
    assert metrics.average_precision(curve).tolist() == [
        pytest.approx(average_precision_score(present[known], scores[known]))
    ]
    counts = metrics.counts((scores > 0.65)[:, None], present[:, None], ones)
    assert metrics.sensitivity(counts).tolist() == [[0.5]]
    assert metrics.specificity(counts).tolist() == [[0.0]]
    assert metrics.calibration_error(scores, present, ones) == pytest.approx(
        metrics.calibration_error(scores[known], present[known], ones[known])
    )


@pytest.mark.parametrize("shows", [True, False])
def test_of_images_that_all_or_none_show_a_label_nothing_is_said(shows: bool) -> None:
    scores, present, ones = np.array([0.1, 0.2, 0.3]), np.full(3, shows), np.ones((3, 2))
    curve = metrics.curve(metrics.ranked(scores, present), ones)
    assert np.isnan(metrics.auc(curve)).tolist() == [True, True]
    assert np.isnan(metrics.average_precision(curve)).tolist() == [True, True]
    counts = metrics.counts(scores[:, None] > 0.15, present[:, None].astype(np.int8), ones)
    assert np.isnan(metrics.f1(counts)).all() == (not shows)
    assert np.isnan(metrics.sensitivity(counts)).all() == (not shows)
    assert np.isnan(metrics.specificity(counts)).all() == shows


def test_the_share_of_images_in_a_mask() -> None:
    mask = np.array([[True], [False], [True], [True]])
    of = np.array([[True], [True], [True], [False]])
    weights = np.array([[1.0, 0], [1, 0], [2, 0], [5, 1]])
    shares = metrics.share(mask, of, weights)
    assert shares[0, 0] == 0.75
    assert np.isnan(shares[0, 1])
