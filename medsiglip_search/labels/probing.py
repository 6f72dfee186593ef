"""Training probes: logistic regression on stored embeddings, by a few images whose labels are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from medsiglip_search.labels import Mode
from medsiglip_search.labels.calibration import FittedOn
from medsiglip_search.labels.probe import Probe, ProbeInfo
from medsiglip_search.labels.scarcity import with_enough
from medsiglip_search.records import GalleryMeta
from medsiglip_search.truth import Truth

STRENGTHS = (1.0, 10.0, 100.0)
"""Of which C is chosen, for all labels together."""

FOLDS = 5
MOST_TO_CHOOSE_BY = 3000
"""So many images, whole patients, are enough to choose C by, and to tell how good the probe is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Examples:
    """embeddings: (N, D) float32. present: (N, L) int8, -1 unknown. patients: (N,) int64."""

    embeddings: np.ndarray
    present: np.ndarray
    patients: np.ndarray

    def only(self, rows: np.ndarray) -> "_Examples":
        return _Examples(self.embeddings[rows], self.present[rows], self.patients[rows])


def train_probe(
    name: str,
    mode: Mode,
    meta: GalleryMeta,
    embeddings: np.ndarray,
    truth: Truth,
    shots: int | None = None,
    seed: int = 0,
    skip_scarce: bool = False,
) -> Probe:
    """Return a probe for the labels of a truth.

    embeddings: (N, D), of the truth's images. shots: of each label at most so many images are shown to it,
    and as many without any label; of as many patients as can be. skip_scarce: leave labels out that fewer
    than two patients have, or lack, or that no image to train on has, or lacks. Raises TooFewExamples.
    """
    labels = _with_enough(truth, skip_scarce)
    present = truth.of(labels)
    rows = np.arange(len(present))
    if mode == "exclusive":
        rows = rows[(present == 1).sum(axis=1) == 1]
    if shots is not None:
        rows = rows[_few(present[rows], truth.patients[rows], shots, np.random.default_rng(seed))]
    advice = "Add some" if shots is None else "Ask for more --shots"
    labels = _shown(labels, present[rows], truth, advice, skip_scarce)
    present = truth.of(labels)
    examples = _Examples(embeddings[rows].astype(np.float32), present[rows], truth.patients[rows])
    strength, auc = _validated(examples, mode, labels, np.random.default_rng(seed))
    weights, bias = _fit(examples, mode, strength)
    info = ProbeInfo(
        name=name,
        mode=mode,
        labels=labels,
        encoder=meta.encoder,
        weights_digest=meta.weights_digest,
        spec=meta.spec,
        fitted_on=FittedOn.of(truth, labels, examples.present, examples.patients),
        shots=shots,
        strength=strength,
        auc=auc,
    )
    return Probe(info, weights, bias)


def _with_enough(truth: Truth, skip_scarce: bool) -> tuple[str, ...]:
    """Return the labels that two patients have and two others lack."""
    counts = {}
    for label, present in zip(truth.labels, truth.present.T, strict=True):
        has, has_not = (len(np.unique(truth.patients[present == value])) for value in (1, 0))
        counts[label] = has, has_not
    advice = "Add some, or leave those labels out"
    return with_enough(counts, (2, 2), "patients", truth.path, advice, skip_scarce)


def _shown(
    labels: Sequence[str], present: np.ndarray, truth: Truth, advice: str, skip_scarce: bool
) -> tuple[str, ...]:
    """Return the labels that some of the images to train on, (N, L), have, and some lack."""
    counts = {
        label: (int((known == 1).sum()), int((known == 0).sum()))
        for label, known in zip(labels, present.T, strict=True)
    }
    advice = f"{advice}, or leave those labels out"
    return with_enough(counts, (1, 1), "images to train on", truth.path, advice, skip_scarce)


def _few(present: np.ndarray, patients: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of at most `shots` images with each label, and without any, of many patients.

    An image that shows two labels counts for both. Labels take turns, those that fewest images have first:
    of two that are only ever seen with a third one, the first would else use up what the third may have.
    """
    without = (present == 0).any(axis=1) & ~(present == 1).any(axis=1)
    kinds = np.column_stack([present == 1, without])
    waiting = {
        kind: iter(_of_different(np.flatnonzero(kinds[:, kind]), patients, rng).tolist())
        for kind in np.argsort(kinds.sum(axis=0), kind="stable").tolist()
    }
    chosen: set[int] = set()
    counts = np.zeros(kinds.shape[1], np.int64)
    while waiting:
        for kind, rows in list(waiting.items()):
            # What does not fit now never will: counts only grow.
            fitting = (row for row in rows if row not in chosen and (counts[kinds[row]] < shots).all())
            row = next(fitting, None) if counts[kind] < shots else None
            if row is None:
                del waiting[kind]
            else:
                chosen.add(row)
                counts += kinds[row]
    return np.array(sorted(chosen), np.int64)


def _of_different(rows: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return these rows in random order, each patient's second after everybody's first."""
    rows = rng.permutation(rows)
    nth = np.zeros(len(rows), np.int64)
    met: dict[int, int] = {}
    for place, one in enumerate(patients[rows].tolist()):
        nth[place] = met[one] = met.get(one, -1) + 1
    return rows[np.argsort(nth, kind="stable")]


def _validated(
    examples: _Examples, mode: Mode, labels: Sequence[str], rng: np.random.Generator
) -> tuple[float, dict[str, float | None]]:
    """Return the best strength, and each label's AUC on patients that were not shown, None if undefined."""
    examples = examples.only(_some_patients(examples.patients, MOST_TO_CHOOSE_BY, rng))
    folds = min(FOLDS, len(np.unique(examples.patients)))
    if folds < 2:
        return STRENGTHS[0], dict.fromkeys(labels)
    best, best_auc = STRENGTHS[0], np.full(len(labels), np.nan)
    for strength in STRENGTHS:
        logits = np.full(examples.present.shape, np.nan, np.float32)
        for seen, unseen in GroupKFold(folds, shuffle=True, random_state=0).split(
            examples.embeddings, groups=examples.patients
        ):
            weights, bias = _fit(examples.only(seen), mode, strength)
            logits[unseen] = examples.embeddings[unseen] @ weights.T + bias
        auc = np.array(
            [_auc(column, known) for column, known in zip(logits.T, examples.present.T, strict=True)]
        )
        if np.isnan(best_auc).all() or np.nanmean(auc) > np.nanmean(best_auc):
            best, best_auc = strength, auc
    return best, {
        label: None if np.isnan(one) else float(one) for label, one in zip(labels, best_auc, strict=True)
    }


def _some_patients(patients: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return which rows to take, (N,) bool: all images of as many patients as give `most`.

    Of a patient with more than a fold's share of them, that share: the others are to come in, too.
    """
    named, codes, counts = np.unique(patients, return_inverse=True, return_counts=True)
    order = rng.permutation(len(named))
    share = most // FOLDS
    taken = np.zeros(len(patients), bool)
    taken[np.isin(codes, order[np.cumsum(np.minimum(counts, share)[order]) <= most])] = True
    for patient in np.flatnonzero(counts > share):
        own = np.flatnonzero(codes == patient)
        taken[rng.permutation(own)[share:]] = False
    return taken


def _auc(logits: np.ndarray, present: np.ndarray) -> float:
    known = (present >= 0) & ~np.isnan(logits)
    truth = present[known] == 1
    return float(roc_auc_score(truth, logits[known])) if truth.any() and not truth.all() else np.nan


def _fit(examples: _Examples, mode: Mode, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights, (L, D) float32, and bias, (L,) float32; NaN for labels that are all or none there."""
    count = examples.present.shape[1]
    weights = np.full((count, examples.embeddings.shape[1]), np.nan, np.float32)
    bias = np.full(count, np.nan, np.float32)
    if mode == "exclusive":
        true = examples.present.argmax(axis=1)
        there = np.unique(true)
        if len(there) > 1:
            fitted = _regression(strength).fit(examples.embeddings, true)
            # Of two labels scikit-learn has the logit of the second against the first.
            two = len(there) == 2
            weights[there] = np.concatenate([-fitted.coef_, fitted.coef_]) / 2 if two else fitted.coef_
            bias[there] = (
                np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2 if two else fitted.intercept_
            )
        return weights, bias
    for column in range(count):
        known = examples.present[:, column] >= 0
        truth = examples.present[known, column] == 1
        if truth.any() and not truth.all():
            fitted = _regression(strength).fit(examples.embeddings[known], truth)
            weights[column], bias[column] = fitted.coef_[0], fitted.intercept_[0]
    return weights, bias


def _regression(strength: float) -> LogisticRegression:
    # Few steps and products of few rows: on a few hundred of them several times as fast as lbfgs.
    return LogisticRegression(C=strength, class_weight="balanced", solver="newton-cg", max_iter=1000)
