"""Calibrations: fitted to a truth, checked on other patients, kept in files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from classifiers import classifier_of
from galleries import meta
from scipy.special import expit
from truths import truth as truth_by_hand

from medsiglip_search.errors import GalleryMismatch, InvalidQuery, TooFewExamples, UnusableFile
from medsiglip_search.labels.calibrating import Wishes, calibrate
from medsiglip_search.labels.calibration_file import read_calibration, write_calibration
from medsiglip_search.labels.labeller import ABSTAIN, PRESENT, Labeller
from medsiglip_search.truth import Truth

LABELS = ("a", "b")


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, Truth]:
    """Scores of two findings, 0.4 apart from what they would be if they were logits, and what is true."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1200, 2)) * 2
    present = rng.random((1200, 2)) < expit(2 * scores - 1)
    return scores, truth_by_hand(present, LABELS, patients=np.arange(1200) // 3)


def test_calibrated_probabilities_are_as_often_right_as_they_say(examples):
    scores, truth = examples
    calibration = calibrate(classifier_of(*LABELS), meta(), scores, truth)
    assert calibration.findings is not None
    for finding in calibration.findings.values():
        assert finding.slope == pytest.approx(2, rel=0.2)
        assert finding.intercept == pytest.approx(-1, abs=0.3)
        assert (finding.threshold, finding.present_from, finding.absent_below) == (0.5, None, None)
    by_label = {check.label: check for check in calibration.checks}
    assert set(by_label) == {"a", "b", "all"}
    assert by_label["a"].images == 1200
    assert by_label["a"].present == (truth.present[:, 0] == 1).sum()
    for check in by_label.values():
        assert check.error_before > 0.1 > 0.05 > check.error_after
        assert check.kept == 1


def test_thresholds_find_as_many_as_asked(examples):
    scores, truth = examples
    calibration = calibrate(classifier_of(*LABELS), meta(), scores, truth, Wishes(sensitivity=0.95))
    for check in calibration.checks:
        assert check.sensitivity == pytest.approx(0.95, abs=0.03)


def test_kept_decisions_are_right_as_often_as_asked(examples):
    scores, truth = examples
    calibration = calibrate(classifier_of(*LABELS), meta(), scores, truth, Wishes(abstain_level=0.95))
    labelled = Labeller(classifier_of(*LABELS), calibration).of_scores(scores.astype(np.float32))
    kept = labelled.decisions != ABSTAIN
    right = (labelled.decisions == PRESENT) == (truth.present == 1)
    assert 0.4 < kept.mean() < 0.95
    assert right[kept].mean() >= 0.95 > right.mean()
    assert calibration.checks[-1].right == pytest.approx(0.95, abs=0.02)


def test_what_it_was_fitted_on_is_told(examples):
    scores, truth = examples
    fitted_on = calibrate(classifier_of(*LABELS), meta(), scores, truth).fitted_on
    assert (fitted_on.truth, fitted_on.truth_digest) == ("truth.csv", "ef" * 32)
    assert (fitted_on.images, fitted_on.patients) == (1200, 400)
    assert fitted_on.present == {"a": (truth.present[:, 0] == 1).sum(), "b": (truth.present[:, 1] == 1).sum()}


def test_unknown_cells_are_left_out_of_their_label_alone(examples):
    scores, truth = examples
    present = truth.present.copy()
    present[:600, 0] = -1
    some = calibrate(classifier_of(*LABELS), meta(), scores, replace(truth, present=present))
    half = calibrate(classifier_of(*LABELS), meta(), scores[600:], truth.only(np.arange(600, 1200)))
    assert some.findings is not None
    assert half.findings is not None
    assert some.findings["a"] == half.findings["a"]
    assert some.findings["b"] != half.findings["b"]


def test_too_few_images_are_refused_with_the_number_needed():
    present = np.zeros((60, 2), np.int8)
    present[:9, 0] = present[:30, 1] = 1
    scores, truth = np.random.default_rng(0).normal(size=(60, 2)), truth_by_hand(present, LABELS)
    with pytest.raises(
        TooFewExamples, match=r"1 of 2 labels; needed are 10 with and 10 without.*a 9 with and 51 w"
    ):
        calibrate(classifier_of(*LABELS), meta(), scores, truth)
    with pytest.raises(TooFewExamples, match="needed are 99 with and 10 without"):
        calibrate(classifier_of(*LABELS), meta(), scores, truth, Wishes(sensitivity=0.99))
    with pytest.raises(TooFewExamples, match="needed are 19 with and 19 without"):
        calibrate(classifier_of(*LABELS), meta(), scores, truth, Wishes(abstain_level=0.95))
    skipping = calibrate(classifier_of(*LABELS), meta(), scores, truth, skip_scarce=True)
    assert set(skipping.findings or ()) == {"b"}
    assert [check.label for check in skipping.checks] == ["b", "all"]


def test_images_of_a_single_patient_are_refused(examples):
    scores, truth = examples
    with pytest.raises(TooFewExamples, match="images of a single patient, and 2 are needed"):
        calibrate(classifier_of(*LABELS), meta(), scores, replace(truth, patients=np.zeros(1200, np.int64)))


def test_a_truth_without_some_labels_leaves_them_uncalibrated_when_asked(examples):
    scores, truth = examples
    only_b = replace(truth, labels=("b",), present=truth.present[:, 1:])
    with pytest.raises(TooFewExamples, match="a 0 with and 0 without"):
        calibrate(classifier_of(*LABELS), meta(), scores, only_b)
    assert set(
        calibrate(classifier_of(*LABELS), meta(), scores, only_b, skip_scarce=True).findings or ()
    ) == {"b"}


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.1])
def test_shares_that_nothing_can_keep_are_refused(share):
    with pytest.raises(InvalidQuery, match="give a share between 0 and 1"):
        Wishes(sensitivity=share)
    with pytest.raises(InvalidQuery, match="give a share between 0 and 1"):
        Wishes(abstain_level=share)


def exclusive(count: int) -> tuple[np.ndarray, Truth]:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(count, 3))
    shares = np.exp(logits * 2) / np.exp(logits * 2).sum(axis=1, keepdims=True)
    true = (shares.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return logits, truth_by_hand(np.eye(3, dtype=np.int8)[true], ("x", "y", "z"))


def test_exclusive_labels_get_one_temperature_and_one_cut():
    logits, truth = exclusive(3000)
    classifier = classifier_of("x", "y", "z", mode="exclusive", scale=8.0)
    calibration = calibrate(classifier, meta(), logits, truth, Wishes(abstain_level=0.9))
    assert calibration.temperature == pytest.approx(4, rel=0.1)
    (check,) = calibration.checks
    assert check.error_before > 0.1 > 0.05 > check.error_after
    assert check.right == pytest.approx(0.9, abs=0.02)
    assert 0.1 < check.kept < 0.9


def test_exclusive_labels_have_no_sensitivity_and_need_examples_too():
    logits, truth = exclusive(30)
    classifier = classifier_of("x", "y", "z", mode="exclusive")
    with pytest.raises(InvalidQuery, match="a sensitivity is of findings"):
        calibrate(classifier, meta(), logits, truth, Wishes(sensitivity=0.9))
    with pytest.raises(
        TooFewExamples, match="30 images with a label, and 99 with two labels or more are needed"
    ):
        calibrate(classifier, meta(), logits, truth, Wishes(abstain_level=0.99))


def test_a_cut_that_nothing_reaches_keeps_nothing():
    logits, _ = exclusive(60)
    rng = np.random.default_rng(0)
    truth = truth_by_hand(np.eye(3, dtype=np.int8)[rng.integers(0, 3, 60)], ("x", "y", "z"))
    classifier = classifier_of("x", "y", "z", mode="exclusive")
    calibration = calibrate(classifier, meta(), logits, truth, Wishes(abstain_level=0.95))
    decisions = Labeller(classifier, calibration).of_scores(logits.astype(np.float32)).decisions
    assert (decisions == ABSTAIN).all()


@pytest.fixture
def written(tmp_path: Path, examples: tuple[np.ndarray, Truth]) -> Path:
    scores, truth = examples
    path = tmp_path / "a.calibration.json"
    write_calibration(calibrate(classifier_of(*LABELS), meta(), scores, truth, Wishes(0.9, 0.9)), path)
    return path


def test_a_file_gives_back_what_was_written(written, examples):
    scores, truth = examples
    found = read_calibration(written, classifier_of(*LABELS), meta())
    fitted = calibrate(classifier_of(*LABELS), meta(), scores, truth, Wishes(0.9, 0.9))
    assert replace(found, fitted_on=fitted.fitted_on) == fitted


@pytest.mark.parametrize(
    ("classifier", "gallery", "error", "message"),
    [
        (classifier_of("a", "c"), meta(), UnusableFile, "by-hand has other labels or prompts"),
        (classifier_of("a", "b", mode="exclusive"), meta(), UnusableFile, "made for labels of mode findings"),
        (
            classifier_of(*LABELS),
            replace(meta(), weights_digest="ef" * 32),
            GalleryMismatch,
            "fitted on embeddings of",
        ),
        (
            classifier_of(*LABELS),
            replace(meta(), spec=replace(meta().spec, fit="stretch")),
            GalleryMismatch,
            "prepared",
        ),
    ],
)
def test_a_calibration_of_something_else_is_refused(written, classifier, gallery, error, message):
    with pytest.raises(error, match=message):
        read_calibration(written, classifier, gallery)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format_version": 1}', "no json", "3"])
def test_files_that_are_no_calibration_are_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UnusableFile, match="holds no calibration"):
        read_calibration(tmp_path / "x.json", classifier_of(*LABELS), meta())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said["findings"].update(c=said["findings"]["a"]), "has labels that by-hand has not: c"),
        (lambda said: said.update(findings=None), "damaged"),
        (lambda said: said["findings"]["a"].update(threshold=7), "damaged"),
        (lambda said: said["findings"]["a"].update(absent_below=-0.5), "damaged"),
        (lambda said: said["findings"]["a"].update(slope=float("nan")), "holds no calibration"),
        (lambda said: said["findings"]["a"].update(intercept=float("inf")), "holds no calibration"),
    ],
)
def test_a_calibration_that_would_decide_otherwise_than_it_was_fitted_is_refused(written, change, message):
    said = json.loads(written.read_text())
    change(said)
    written.write_text(json.dumps(said))
    with pytest.raises(UnusableFile, match=message):
        read_calibration(written, classifier_of(*LABELS), meta())


@pytest.mark.parametrize("change", [{"temperature": None}, {"temperature": 0}, {"keep_from": -1}])
def test_a_damaged_calibration_of_exclusive_labels_is_refused(tmp_path, change):
    rng = np.random.default_rng(0)
    truth = truth_by_hand(np.eye(3, dtype=np.int8)[rng.integers(0, 3, 60)], ("x", "y", "z"))
    classifier = classifier_of("x", "y", "z", mode="exclusive")
    path = tmp_path / "x.calibration.json"
    write_calibration(calibrate(classifier, meta(), rng.normal(size=(60, 3)), truth), path)
    assert read_calibration(path, classifier, meta()).temperature is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UnusableFile, match="damaged"):
        read_calibration(path, classifier, meta())


def test_missing_files_and_other_releases_are_told_of(written, tmp_path):
    with pytest.raises(UnusableFile, match="cannot be read: No such file"):
        read_calibration(tmp_path / "none.json", classifier_of(*LABELS), meta())
    content = json.loads(written.read_text())
    written.write_text(json.dumps(content | {"format_version": 2}))
    with pytest.raises(UnusableFile, match=r"of another release \(format 2\)"):
        read_calibration(written, classifier_of(*LABELS), meta())
