"""Metrics of labels, for many weightings of the same images at once.

A weighting is one resample of a bootstrap; with weights of one it is the figure itself, so that both go one
way. scikit-learn computes the same, one weighting at a time: AUC and average precision of 1,500 images, 27
labels and 1,000 resamples take it two minutes, about a thousand times as long as here (measured on 50
resamples of one label, and scaled up). The tests hold the two equal to 1e-9, ties included.

Everywhere weights are (N, R) float64, R weightings of N images; NaN stands where a metric is undefined.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

ECE_BINS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Images in the order of one label's scores, the highest first, sorted once for all weightings.

    positives: (P,) int32, places of images that show it; level_bounds: (G + 1,), where those of the g-th
    score begin and the last ones end. negatives: places of the others; segment_bounds: (2G + 2,), where those
    between two such scores and those of the same score begin, in turn.
    """

    positives: np.ndarray
    level_bounds: np.ndarray
    negatives: np.ndarray
    segment_bounds: np.ndarray


def ranked(scores: np.ndarray, present: np.ndarray) -> Ranked:
    """Return (N,) scores in order; present: (N,), 1 and 0, or bool, -1 leaves an image out."""
    order = np.argsort(-scores, kind="stable").astype(np.int32)
    shown = present[order]
    positives, negatives = order[shown == 1], order[shown == 0]
    levels, starts = np.unique(-scores[positives], return_index=True)
    edges = [np.searchsorted(-scores[negatives], levels, side) for side in ("left", "right")]
    return Ranked(
        positives,
        np.append(starts, len(positives)),
        negatives,
        np.concatenate([[0], np.column_stack(edges).ravel(), [len(negatives)]]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What AUC and average precision are computed from.

    positives: (G, R), the weight of the positive images of the g-th highest score that any has. below, tied:
    (G, R), the weight of the negative images of lower, and of the same score. negatives: (R,), of all.
    """

    positives: np.ndarray
    below: np.ndarray
    tied: np.ndarray
    negatives: np.ndarray


def curve(ranked: Ranked, weights: np.ndarray) -> Curve:
    """Return the curve of one label for each weighting."""
    positives = segment_sums(1.0, ranked.positives, ranked.level_bounds, weights)
    segments = segment_sums(1.0, ranked.negatives, ranked.segment_bounds, weights)
    tied = segments[1::2]
    # Summed from the lowest up: what a level ties with and what is between it and the one above.
    under = (segments[::2] + np.concatenate([tied, np.zeros_like(segments[:1])]))[::-1]
    sums = np.cumsum(under, axis=0)[::-1]
    return Curve(positives, sums[1:], tied, sums[0])


def auc(curve: Curve) -> np.ndarray:
    """Return (R,) areas under the ROC curve; NaN without positive or without negative images."""
    wins = (curve.positives * (curve.below + curve.tied / 2)).sum(axis=0)
    return ratio(wins, curve.positives.sum(axis=0) * curve.negatives)


def average_precision(curve: Curve) -> np.ndarray:
    """Return (R,) average precisions; NaN without positive or without negative images.

    Of all positive images it would be 1 whatever the scores, which says nothing of them.
    """
    true = np.cumsum(curve.positives, axis=0)
    precision = ratio(true, true + curve.negatives - curve.below)
    # A resample may have no image at all down to some level, which then weighs nothing.
    sums = (curve.positives * np.nan_to_num(precision)).sum(axis=0)
    return np.where(curve.negatives > 0, ratio(sums, curve.positives.sum(axis=0)), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """The weights of images by truth and decision, (L, R) each."""

    true_positive: np.ndarray
    false_positive: np.ndarray
    true_negative: np.ndarray
    false_negative: np.ndarray


def counts(decided: np.ndarray, present: np.ndarray, weights: np.ndarray) -> Counts:
    """Return the counts of (N, L) bool decisions; present: (N, L) int8, 1 and 0, -1 leaves an image out."""
    shows, lacks = present == 1, present == 0
    masks = (decided & shows, decided & lacks, ~decided & lacks, ~decided & shows)
    return Counts(*(weights_of(mask, weights) for mask in masks))


def sensitivity(counts: Counts) -> np.ndarray:
    """Return (L, R) shares of the positive images that are decided to be; NaN without any."""
    return ratio(counts.true_positive, counts.true_positive + counts.false_negative)


def specificity(counts: Counts) -> np.ndarray:
    """Return (L, R) shares of the negative images that are decided to be; NaN without any."""
    return ratio(counts.true_negative, counts.true_negative + counts.false_positive)


def f1(counts: Counts) -> np.ndarray:
    """Return (L, R) F1 scores; NaN without a positive image, where nothing could be right."""
    positive = counts.true_positive + counts.false_negative
    twice = 2 * counts.true_positive
    score = ratio(twice, twice + counts.false_positive + counts.false_negative)
    return np.where(positive > 0, score, np.nan)


def share(mask: np.ndarray, of: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (L, R): how much of the images `of`, (N, L) bool, are in `mask` too; NaN without any."""
    return ratio(weights_of(mask & of, weights), weights_of(of, weights))


def calibration_error(probabilities: np.ndarray, present: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (R,) expected calibration errors of (N,) probabilities of what images show.

    present: (N,), 1 and 0, or bool, -1 leaves an image out.
    Over 15 bins of equal width, closed to the right: the distance between the mean probability of a bin and
    the share of its images that show it, weighted by the images in it (Naeini et al., AAAI 2015; Guo et al.,
    ICML 2017). NaN without any image.
    """
    known = np.flatnonzero(present != -1)
    bins = bins_of(probabilities[known])
    order = known[np.argsort(bins, kind="stable")]
    bounds = np.append(0, np.cumsum(np.bincount(bins, minlength=ECE_BINS)))
    gaps = segment_sums(probabilities[order].astype(np.float64) - present[order], order, bounds, weights)
    whole = segment_sums(1.0, order, np.array([0, len(order)]), weights)[0]
    return ratio(np.abs(gaps).sum(axis=0), whole)


def bins_of(probabilities: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to 14, of each probability, as uint8."""
    edges = np.linspace(0, 1, ECE_BINS + 1)
    return np.clip(np.searchsorted(edges, probabilities, "left") - 1, 0, ECE_BINS - 1).astype(np.uint8)


def accuracy(right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (R,) shares of the images that are right, (N,) bool; NaN without any."""
    return share(right[:, None], np.ones((len(right), 1), bool), weights)[0]


def balanced_accuracy(right: np.ndarray, true: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (R,) means of the accuracies of those labels that any image shows.

    right: (N,) bool. true: (N,) the numbers of the labels.
    """
    labels = np.arange(true.max(initial=-1) + 1)
    of = true[:, None] == labels
    return mean_of_defined(share(np.broadcast_to(right[:, None], of.shape), of, weights))


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0.0).sum(axis=0), there.sum(axis=0).astype(np.float64))


def weights_of(mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (L, R): the weight of the images in each column of (N, L) bool."""
    # Sparse, and so without BLAS: its threads wait for each other by spinning, which beside another busy
    # program took a hundred times as long (measured).
    return csr_array(mask.T.astype(np.float64)) @ weights


def segment_sums(
    factors: np.ndarray | float, places: np.ndarray, bounds: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return (S, R): the weights of the images of each segment of `places`, times their factors.

    factors: one for each place. bounds: (S + 1,), where the segments begin, and where the last one ends.
    """
    data = np.broadcast_to(np.asarray(factors, np.float64), places.shape)
    return csr_array((data, places, bounds), shape=(len(bounds) - 1, len(weights))) @ weights


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where the whole is nothing."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
