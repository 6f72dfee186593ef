"""Fitting a calibration to images whose labels are known, and how it does on other patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import GroupKFold

from medsiglip_search.errors import InvalidQuery, TooFewExamples
from medsiglip_search.evaluate.metrics import calibration_error
from medsiglip_search.labels.calibration import Calibration, FindingCalibration, FittedOn, LabelCheck
from medsiglip_search.labels.classifier import Classifier, probabilities_of
from medsiglip_search.labels.labeller import ABSTAIN, PRESENT, Labelled, Labeller
from medsiglip_search.labels.scaling import examples_for, kept_from, platt, temperature, threshold_for
from medsiglip_search.labels.scarcity import with_enough
from medsiglip_search.records import GalleryMeta
from medsiglip_search.truth import Truth

ENOUGH = 10
"""So many images with a label, and as many without, are the least that its scaling is fitted to."""

FOLDS = 5
ALL = "all"
NEVER = 2.0
"""Above every probability."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What decisions are to keep. sensitivity, abstain_level: see `Calibration`; both 0 to 1, excluded."""

    sensitivity: float | None = None
    abstain_level: float | None = None

    def __post_init__(self) -> None:
        """Raise InvalidQuery for a share that nothing can keep."""
        for name, share in (("sensitivity", self.sensitivity), ("abstention level", self.abstain_level)):
            if share is not None and not 0 < share < 1:
                raise InvalidQuery(f"{name} {share:g}: give a share between 0 and 1, such as 0.9")

    @property
    def with_label(self) -> int:
        """How many images with a label it takes."""
        return max([ENOUGH, *(examples_for(one) for one in (self.sensitivity, self.abstain_level) if one)])

    @property
    def without_label(self) -> int:
        """How many images without a label it takes."""
        return max(ENOUGH, examples_for(self.abstain_level) if self.abstain_level else 0)


def calibrate(
    classifier: Classifier,
    meta: GalleryMeta,
    embeddings: np.ndarray,
    truth: Truth,
    wishes: Wishes = Wishes(),
    skip_scarce: bool = False,
) -> Calibration:
    """Return the calibration of a classifier on the embeddings of images whose labels are known.

    embeddings: (N, D), of the truth's images. skip_scarce: leave labels with too few examples as they are.
    Raises TooFewExamples, with the number needed, InvalidQuery.
    """
    examples = _examples(classifier, classifier.scores(embeddings), truth)
    if len(np.unique(examples.patients)) < 2:
        raise TooFewExamples(
            f"{truth.path}: images of a single patient, and 2 are needed; add some, or tell patients apart"
        )
    labels = _with_enough(classifier, examples, truth, wishes, skip_scarce)
    calibration = Calibration(
        classifier=classifier.name,
        classifier_digest=classifier.digest,
        mode=classifier.mode,
        encoder=meta.encoder,
        weights_digest=meta.weights_digest,
        spec=meta.spec,
        fitted_on=FittedOn.of(truth, classifier.labels, examples.present, examples.patients),
        sensitivity=wishes.sensitivity,
        abstain_level=wishes.abstain_level,
    )
    fitted = _fit(calibration, classifier, examples, labels)
    checks = _checks(fitted, classifier, examples, labels)
    return replace(fitted, checks=tuple(checks))


@dataclass(frozen=True, slots=True, eq=False)
class _Examples:
    """Scored images whose labels are known.

    labels: L names. scores: (N, L) float32. present: (N, L) int8, -1 unknown. patients: (N,) int64.
    """

    labels: tuple[str, ...]
    scores: np.ndarray
    present: np.ndarray
    patients: np.ndarray

    def of(self, label: str) -> np.ndarray:
        """Return what is known of a label, (N,) int8."""
        return self.present[:, self.labels.index(label)]

    def only(self, rows: np.ndarray) -> "_Examples":
        return _Examples(self.labels, self.scores[rows], self.present[rows], self.patients[rows])


def _examples(classifier: Classifier, scores: np.ndarray, truth: Truth) -> _Examples:
    present = np.full(scores.shape, -1, np.int8)
    for column, label in enumerate(classifier.labels):
        if label in truth.labels:
            present[:, column] = truth.of([label])[:, 0]
    examples = _Examples(classifier.labels, scores, present, truth.patients)
    # Of exclusive labels just one is true.
    return examples.only((present == 1).sum(axis=1) == 1) if classifier.mode == "exclusive" else examples


def _with_enough(
    classifier: Classifier, examples: _Examples, truth: Truth, wishes: Wishes, skip_scarce: bool
) -> tuple[str, ...]:
    """Return the labels that there are enough examples of."""
    if classifier.mode == "exclusive":
        if wishes.sensitivity is not None:
            raise InvalidQuery("a sensitivity is of findings, and these labels are exclusive; leave it out")
        with_label, several = len(examples.scores), (examples.present == 1).any(axis=0).sum() > 1
        if with_label < wishes.with_label or not several:
            raise TooFewExamples(
                f"{truth.path}: {with_label} images with a label, and {wishes.with_label} with two labels or "
                "more are needed; add some"
            )
        return ()
    counts = {}
    for label in classifier.labels:
        has, has_not = (int((examples.of(label) == value).sum()) for value in (1, 0))
        counts[label] = has, has_not
    needed = wishes.with_label, wishes.without_label
    advice = "Add some, ask for less, or leave those labels as they are"
    return with_enough(counts, needed, "images", truth.path, advice, skip_scarce)


def _fit(
    calibration: Calibration, classifier: Classifier, examples: _Examples, labels: Sequence[str]
) -> Calibration:
    """Return the calibration with what these examples make of it."""
    logits = np.float32(classifier.scale) * examples.scores
    if classifier.mode == "exclusive":
        true = examples.present.argmax(axis=1)
        by = temperature(logits.astype(np.float64), true)
        keep_from = None
        if calibration.abstain_level is not None:
            likeliest = probabilities_of(logits / np.float32(by), "exclusive")
            keep_from = kept_from(
                likeliest.max(axis=1), likeliest.argmax(axis=1) == true, calibration.abstain_level
            )
            keep_from = NEVER if keep_from is None else max(0.0, keep_from)
        return replace(calibration, temperature=by, keep_from=keep_from)
    findings = {}
    for column, label in enumerate(classifier.labels):
        known = examples.present[:, column] >= 0
        if label in labels and known.any():
            present = examples.present[known, column] == 1
            findings[label] = _finding(calibration, logits[known, column], present)
    return replace(calibration, findings=findings)


def _finding(calibration: Calibration, logits: np.ndarray, present: np.ndarray) -> FindingCalibration:
    slope, intercept = platt(logits, present)
    probabilities = probabilities_of(np.float32(slope) * logits + np.float32(intercept), "findings")
    threshold = 0.5
    if calibration.sensitivity is not None and present.any():
        threshold = threshold_for(calibration.sensitivity, probabilities, present)
    if calibration.abstain_level is None:
        return FindingCalibration(slope, intercept, threshold)
    above = probabilities >= np.float32(threshold)
    level = calibration.abstain_level
    present_from = kept_from(probabilities[above], present[above], level)
    absent_below = kept_from(-probabilities[~above], ~present[~above], level)
    return FindingCalibration(
        slope,
        intercept,
        threshold,
        None if present_from is None else max(threshold, present_from),
        None if absent_below is None else min(threshold, -absent_below),
    )


def _checks(
    calibration: Calibration, classifier: Classifier, examples: _Examples, labels: Sequence[str]
) -> Iterator[LabelCheck]:
    """Yield how calibrations fitted on some patients do on the others, by label and of all together."""
    held_out = _held_out(calibration, classifier, examples, labels)
    if held_out is None:
        return
    whole, labelled, above = held_out
    if classifier.mode == "exclusive":
        yield _exclusive_check(whole, labelled)
        return
    checks = [_check(whole, labelled, above, classifier.labels.index(label)) for label in labels]
    yield from checks
    weights = np.array([check.images for check in checks], np.float64)

    def mean(name: str, by: np.ndarray) -> float | None:
        values = np.array([getattr(check, name) for check in checks], np.float64)
        told = ~np.isnan(values)
        return float(np.average(values[told], weights=by[told])) if told.any() and by[told].sum() else None

    kept = weights * [check.kept or 0 for check in checks]
    yield LabelCheck(
        ALL,
        sum(check.images for check in checks),
        sum(check.present for check in checks),
        mean("error_before", np.ones_like(weights)),
        mean("error_after", np.ones_like(weights)),
        mean("sensitivity", np.ones_like(weights)),
        mean("kept", weights),
        mean("right", kept),
    )


def _held_out(
    calibration: Calibration, classifier: Classifier, examples: _Examples, labels: Sequence[str]
) -> tuple[_Examples, Labelled, np.ndarray] | None:
    """Return the examples, and what each is labelled by a calibration that has not seen its patient.

    The last: (N, L) bool, whether a finding is at or above its threshold. None where there is one patient.
    """
    folds = min(FOLDS, len(np.unique(examples.patients)))
    if folds < 2:
        return None
    rows, parts, above = [], [], []
    for seen, unseen in GroupKFold(folds, shuffle=True, random_state=0).split(
        examples.scores, groups=examples.patients
    ):
        fitted = _fit(calibration, classifier, examples.only(seen), labels)
        rows.append(unseen)
        labeller = Labeller(classifier, fitted)
        labelled = labeller.of_scores(examples.scores[unseen])
        parts.append(labelled)
        above.append(labelled.best >= labeller.thresholds.astype(np.float32))
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("scores", "probabilities", "calibrated", "decisions")
    }
    return examples.only(np.concatenate(rows)), Labelled(**columns), np.concatenate(above)


def _check(examples: _Examples, labelled: Labelled, above: np.ndarray, column: int) -> LabelCheck:
    present = examples.present[:, column]
    known = (present >= 0) & ~np.isnan(labelled.best[:, column])
    truth, decided = present[known] == 1, labelled.decisions[known, column]
    kept = decided != ABSTAIN
    return LabelCheck(
        examples.labels[column],
        len(truth),
        int(truth.sum()),
        _error(labelled.probabilities[known, column], truth),
        _error(labelled.best[known, column], truth),
        _share(above[known, column][truth]),
        _share(kept),
        _share(((decided == PRESENT) == truth)[kept]),
    )


def _exclusive_check(examples: _Examples, labelled: Labelled) -> LabelCheck:
    true = examples.present.argmax(axis=1)
    right = labelled.probabilities.argmax(axis=1) == true
    kept = labelled.decisions[:, 0] != ABSTAIN
    return LabelCheck(
        ALL,
        len(true),
        len(true),
        _error(labelled.probabilities.max(axis=1), right),
        _error(labelled.best.max(axis=1), right),
        None,
        _share(kept),
        _share(right[kept]),
    )


def _error(probabilities: np.ndarray, right: np.ndarray) -> float | None:
    if not len(right):
        return None
    return float(calibration_error(probabilities, right, np.ones((len(right), 1)))[0])


def _share(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None
