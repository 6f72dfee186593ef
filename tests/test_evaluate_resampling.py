"""The bootstrap by patient."""

import numpy as np
import pytest

from medsiglip_search.evaluate import resampling
from medsiglip_search.evaluate.resampling import Bootstrap, Estimate, mean_of

PATIENTS = np.array([7, 7, 3, 9, 3, 3])


def all_weights(bootstrap: Bootstrap) -> np.ndarray:
    return np.concatenate(list(bootstrap.weights()), axis=1)


def test_the_first_weights_are_ones_and_the_others_go_by_patient() -> None:
    weights = all_weights(Bootstrap(PATIENTS, 200))
    assert weights.shape == (6, 201)
    assert (weights[:, 0] == 1).all()
    assert (weights[0] == weights[1]).all()
    assert (weights[2] == weights[4]).all()
    assert (weights[2] == weights[5]).all()
    drawn = weights[[0, 2, 3], 1:]  # an image of each patient
    assert (drawn.sum(axis=0) == 3).all()
    assert drawn.mean(axis=1) == pytest.approx([1, 1, 1], abs=0.2)
    # of three draws a patient is left out of with a chance of 8 in 27
    assert (drawn == 0).mean() == pytest.approx(8 / 27, abs=0.06)


def test_resamples_are_the_same_again_and_other_ones_with_another_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = all_weights(Bootstrap(PATIENTS, 50, seed=4))
    monkeypatch.setattr(resampling, "_CHUNK_BYTES", 8 * 6 * 7)
    chunks = list(Bootstrap(PATIENTS, 50, seed=4).weights())
    assert [chunk.shape[1] for chunk in chunks] == [7] * 7 + [2]
    assert (np.concatenate(chunks, axis=1) == first).all()
    assert (all_weights(Bootstrap(PATIENTS, 50, seed=5)) != first).any()


def test_an_interval_holds_the_middle_of_the_resamples_that_are_defined() -> None:
    samples = np.append(np.arange(101) / 100, np.nan)
    interval = Estimate(0.4, samples).interval
    assert interval == resampling.Interval(0.4, pytest.approx(0.025), pytest.approx(0.975), 101)


def test_what_is_undefined_has_no_interval() -> None:
    interval = Estimate(np.nan, np.array([0.5, 0.6])).interval
    assert np.isnan([interval.value, interval.low, interval.high]).all()


def test_a_difference_is_that_of_the_same_resamples() -> None:
    one, other = Estimate(0.9, np.array([0.8, 0.95, np.nan])), Estimate(0.7, np.array([0.6, 0.75, 0.7]))
    interval = one.minus(other).interval
    assert [interval.value, interval.low, interval.high] == pytest.approx([0.2, 0.2, 0.2])
    assert interval.resamples == 2


def test_a_mean_is_over_the_figures_that_are_defined() -> None:
    mean = mean_of([Estimate(0.5, np.array([0.4, np.nan])), Estimate(np.nan, np.array([np.nan, np.nan]))])
    assert mean.value == 0.5
    assert mean.samples[0] == 0.4
    assert np.isnan(mean.samples[1])


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal(400)
    patients = np.arange(400)
    weights = all_weights(Bootstrap(patients, 2000))
    means = values @ weights / weights.sum(axis=0)
    interval = Estimate.of(means).interval
    error = values.std() / 20
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
