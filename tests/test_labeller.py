"""From scores to probabilities to decisions."""

from dataclasses import replace

import numpy as np
import pytest
from classifiers import classifier_of
from galleries import SPEC

from medsiglip_search.labels.calibration import Calibration, FindingCalibration, FittedOn
from medsiglip_search.labels.labeller import ABSENT, ABSTAIN, PRESENT, Labeller

FITTED_ON = FittedOn("truth.csv", "cd" * 32, 1, 1, {}, "2026-01-01T00:00:00+00:00")


def calibration(**fields: object) -> Calibration:
    mode = "exclusive" if "temperature" in fields else "findings"
    own = Calibration("by-hand", "d", mode, "by-hand", "ab" * 32, SPEC, FITTED_ON)  # type: ignore[arg-type]
    return replace(own, **fields)  # type: ignore[arg-type]


def test_findings_are_present_from_their_thresholds_on():
    classifier = replace(classifier_of("a", "b"), thresholds=np.array([0.5, 0.8]))
    labelled = Labeller(classifier).label(np.array([[0.0, 2.0], [-0.1, 1.0]], np.float32))
    assert labelled.probabilities == pytest.approx(np.array([[0.5, 0.8808], [0.475, 0.7311]]), abs=1e-4)
    assert labelled.decisions.tolist() == [[PRESENT, PRESENT], [ABSENT, ABSENT]]
    assert labelled.calibrated is None
    assert labelled.best is labelled.probabilities


def test_the_likeliest_of_exclusive_labels_is_taken():
    classifier = classifier_of("a", "b", "c", mode="exclusive")
    labelled = Labeller(classifier).label(np.array([[0.1, 0.2, 0.0], [3.0, 0.0, 0.0]], np.float32))
    assert labelled.decisions.tolist() == [[ABSENT, PRESENT, ABSENT], [PRESENT, ABSENT, ABSENT]]
    assert labelled.probabilities.sum(axis=1) == pytest.approx([1, 1])


def test_an_exclusive_label_below_its_threshold_leaves_its_image_undecided():
    classifier = replace(classifier_of("a", "b", mode="exclusive"), thresholds=np.array([0.9, 0.0]))
    labelled = Labeller(classifier).label(np.array([[1.0, 0.0], [0.0, 1.0], [9.0, 0.0]], np.float32))
    assert labelled.decisions.tolist() == [[ABSTAIN, ABSTAIN], [ABSENT, PRESENT], [PRESENT, ABSENT]]


def test_calibrated_findings_are_decided_by_their_own_cuts():
    own = calibration(
        abstain_level=0.9,
        findings={"a": FindingCalibration(1.0, 0.0, 0.5, present_from=0.8, absent_below=0.3)},
    )
    scores = np.array([[1.5], [1.0], [0.0], [-0.5], [-1.0]], np.float32)  # 0.818, 0.731, 0.5, 0.378, 0.269
    decisions = Labeller(classifier_of("a"), own).of_scores(scores).decisions.ravel()
    assert decisions.tolist() == [PRESENT, ABSTAIN, ABSTAIN, ABSTAIN, ABSENT]


def test_without_abstention_the_calibrated_threshold_decides_alone():
    own = calibration(findings={"a": FindingCalibration(2.0, -1.0, 0.5)})
    labelled = Labeller(classifier_of("a"), own).of_scores(np.array([[0.6], [0.4]], np.float32))
    assert labelled.calibrated == pytest.approx(np.array([[0.5498], [0.4502]]), abs=1e-4)
    assert labelled.decisions.tolist() == [[PRESENT], [ABSENT]]
    assert labelled.best is not labelled.probabilities


def test_what_is_kept_nowhere_is_never_decided():
    own = calibration(abstain_level=0.9, findings={"a": FindingCalibration(1.0, 0.0, 0.5)})
    labelled = Labeller(classifier_of("a"), own).of_scores(np.array([[9.0], [-9.0]], np.float32))
    assert labelled.decisions.tolist() == [[ABSTAIN], [ABSTAIN]]


def test_findings_without_a_calibration_stay_as_they_are():
    own = calibration(abstain_level=0.9, findings={"b": FindingCalibration(1.0, 5.0, 0.5, 0.5, 0.5)})
    labelled = Labeller(classifier_of("a", "b"), own).of_scores(np.array([[0.1, -1.0]], np.float32))
    assert labelled.calibrated is not None
    assert np.isnan(labelled.calibrated[0, 0])
    assert labelled.best[0] == pytest.approx([0.525, 0.982], abs=1e-3)
    assert labelled.decisions.tolist() == [[PRESENT, PRESENT]]


def test_a_temperature_changes_probabilities_and_what_is_kept_of_them():
    own = calibration(temperature=2.0, keep_from=0.7)
    labelled = Labeller(classifier_of("a", "b", mode="exclusive"), own).of_scores(
        np.array([[2.0, 0.0], [1.0, 0.0]], np.float32)
    )
    assert labelled.calibrated == pytest.approx(np.array([[0.7311, 0.2689], [0.6225, 0.3775]]), abs=1e-4)
    assert labelled.decisions.tolist() == [[PRESENT, ABSENT], [ABSTAIN, ABSTAIN]]
