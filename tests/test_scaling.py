"""Probabilities that mean what they say, and the cuts that decisions are made at."""

import math

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from medsiglip_search.labels.scaling import examples_for, kept_from, platt, temperature, threshold_for


def test_platt_scaling_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=300)
    present = rng.random(300) < expit(2 * logits - 1)
    slope, intercept = platt(logits, present)
    identity = LogisticRegression().fit(logits[:, None], present)
    identity.coef_, identity.intercept_ = np.ones((1, 1)), np.zeros(1)
    reference = CalibratedClassifierCV(FrozenEstimator(identity), method="sigmoid")
    expected = reference.fit(logits[:, None], present).predict_proba(logits[:, None])[:, 1]
    assert expit(slope * logits + intercept) == pytest.approx(expected, abs=1e-3)


def test_platt_scaling_of_a_label_without_mistakes_stays_finite():
    logits = np.r_[np.full(20, 5.0), np.full(30, -5.0)]
    slope, intercept = platt(logits, logits > 0)
    assert expit(slope * 5 + intercept) == pytest.approx(21 / 22, abs=1e-3)
    assert expit(-slope * 5 + intercept) == pytest.approx(1 / 32, abs=1e-3)


def test_a_temperature_undoes_what_logits_were_multiplied_by():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 4))
    true = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert temperature(logits * 3, true) == pytest.approx(3, rel=0.05)


def test_a_temperature_of_labels_without_mistakes_stays_above_its_bound():
    logits = np.eye(3) * 5
    assert temperature(logits, np.arange(3)) >= 0.02


def test_the_threshold_leaves_out_as_many_of_the_known_as_the_sensitivity_allows():
    # 19 images with the label at 0.05, 0.10, ..., 0.95: floor(20 * 0.1) = 2 is the second lowest.
    probabilities = np.r_[np.arange(1, 20) / 20, 0.01, 0.07]
    present = np.r_[np.ones(19, bool), False, False]
    threshold = threshold_for(0.9, probabilities, present)
    assert threshold == pytest.approx((0.10 + 0.07) / 2)
    assert (probabilities[present] >= threshold).sum() == 18


def test_a_new_image_is_found_as_often_as_asked():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(4000):
        known, new = rng.random(39), rng.random()
        found.append(new >= threshold_for(0.8, known, np.ones(39, bool)))
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_with_too_few_examples_the_threshold_is_below_all_of_them():
    assert threshold_for(0.99, np.array([0.4, 0.6]), np.ones(2, bool)) == pytest.approx(0.2)


@pytest.mark.parametrize(("share", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_how_many_examples_a_share_takes(share, needed):
    assert examples_for(share) == needed


def test_decisions_are_kept_as_far_down_as_enough_of_them_are_right():
    confidence = np.linspace(1, 0.5, 51)
    right = np.ones(51, bool)
    right[20:] = False
    # Of the first 20 none is wrong; with w of the others (w + 1) / (20 + w + 1) <= 0.1 up to w = 1.
    cut = kept_from(confidence, right, 0.9)
    assert cut is not None
    assert (confidence >= cut).sum() == 21


def test_all_decisions_are_kept_where_all_are_right_often_enough():
    assert kept_from(np.linspace(1, 0.5, 20), np.ones(20, bool), 0.9) == -math.inf


def test_no_decision_is_kept_where_too_few_are_known_or_right():
    assert kept_from(np.linspace(1, 0.5, 8), np.ones(8, bool), 0.9) is None
    assert kept_from(np.linspace(1, 0.5, 9), np.ones(9, bool), 0.9) == -math.inf
    assert kept_from(np.linspace(1, 0.5, 50), np.arange(50) % 2 == 0, 0.9) is None
    assert kept_from(np.empty(0), np.empty(0, bool), 0.9) is None


def test_equal_confidences_are_kept_or_left_together():
    confidence = np.r_[np.full(15, 0.9), np.full(10, 0.7)]
    right = np.r_[np.ones(15, bool), np.ones(2, bool), np.zeros(8, bool)]
    assert kept_from(confidence, right, 0.9) == pytest.approx(0.8)


def test_what_is_kept_of_new_decisions_is_right_as_often_as_asked():
    rng = np.random.default_rng(3)
    right = []
    for _ in range(300):
        confidence = rng.random(400)
        correct = rng.random(400) < confidence
        cut = kept_from(confidence[:200], correct[:200], 0.9)
        if cut is not None:
            right += correct[200:][confidence[200:] >= cut].tolist()
    assert len(right) > 1000
    assert np.mean(right) >= 0.89
