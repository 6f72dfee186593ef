"""Labels against a truth: what of the images counts for which figure."""

from typing import Any

import numpy as np
import pytest
from labelled import calibration, classifier
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
    roc_auc_score,
)
from truths import truth

from medsiglip_search.evaluate.labels import LabelEvaluation, LabelFigures, evaluate_labels
from medsiglip_search.evaluate.resampling import Bootstrap
from medsiglip_search.labels.calibration import FindingCalibration
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.truth import Truth

EQUAL = {"rel": 0, "abs": 1e-9}
LABELS = ("effusion", "nodule", "fracture")


def evaluate(scores: Any, labeller: Labeller, of: Truth, resamples: int = 0) -> LabelEvaluation:
    return evaluate_labels(np.asarray(scores, np.float32), labeller, of, Bootstrap(of.patients, resamples))


def values(label: LabelFigures) -> dict[str, float]:
    return {name: estimate.value for name, estimate in label.figures.items()}


def random_case(mode: str, count: int = 200) -> tuple[np.ndarray, Truth, Labeller]:
    random = np.random.default_rng(5)
    present = np.zeros((count, 3), np.int8)
    if mode == "exclusive":
        present[np.arange(count), random.integers(0, 3, count)] = 1
    else:
        present[:] = random.random((count, 3)) < (0.1, 0.4, 0.6)
    scores = (random.standard_normal((count, 3)) + present).astype(np.float32)
    patients = np.arange(count) // 2
    return scores, truth(present, LABELS, patients), Labeller(classifier(np.eye(3), LABELS, mode))


def test_the_figures_of_findings_are_those_of_scikit_learn() -> None:
    scores, of, labeller = random_case("findings")
    probabilities = 1 / (1 + np.exp(-4 * scores.astype(np.float64)))
    evaluation = evaluate(scores, labeller, of)
    assert [label.label for label in evaluation.labels] == list(LABELS)
    for column, label in enumerate(evaluation.labels):
        shows, decided = of.present[:, column], probabilities[:, column] >= 0.5
        found = values(label)
        assert found["auc"] == pytest.approx(roc_auc_score(shows, scores[:, column]), **EQUAL)
        expected = average_precision_score(shows, scores[:, column])
        assert found["average_precision"] == pytest.approx(expected, **EQUAL)
        assert found["f1"] == pytest.approx(f1_score(shows, decided), **EQUAL)
        assert found["sensitivity"] == pytest.approx(recall_score(shows, decided), **EQUAL)
        assert found["specificity"] == pytest.approx(recall_score(shows, decided, pos_label=0), **EQUAL)
        assert (found["abstained"], found["kept_right"]) == (0, pytest.approx((shows == decided).mean()))
        assert (label.images, label.positives, label.patients) == (200, shows.sum(), 100)
        assert label.undefined is None
    aucs = [values(label)["auc"] for label in evaluation.labels]
    assert evaluation.macro["auc"].value == pytest.approx(np.mean(aucs))
    assert evaluation.overall is None


def test_the_figures_of_exclusive_labels_are_those_of_scikit_learn() -> None:
    scores, of, labeller = random_case("exclusive")
    true, best = of.present.argmax(axis=1), scores.argmax(axis=1)
    logits = 4 * scores.astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    evaluation = evaluate(scores, labeller, of)
    for column, label in enumerate(evaluation.labels):
        found = values(label)
        assert found["auc"] == pytest.approx(roc_auc_score(true == column, softmax[:, column]), **EQUAL)
        assert found["sensitivity"] == pytest.approx((best == column)[true == column].mean(), **EQUAL)
        assert found["specificity"] == pytest.approx((best != column)[true != column].mean(), **EQUAL)
    overall = evaluation.overall
    assert overall is not None
    assert overall.figures["accuracy"].value == pytest.approx((true == best).mean(), **EQUAL)
    balanced = balanced_accuracy_score(true, best)
    assert overall.figures["balanced_accuracy"].value == pytest.approx(balanced, **EQUAL)
    assert overall.confusion.tolist() == confusion_matrix(true, best).tolist()
    assert overall.predicted == LABELS


def test_probabilities_that_float32_takes_for_1_are_still_ranked() -> None:
    labeller = Labeller(classifier(np.eye(2), ("a", "b"), "exclusive", scale=100.0))
    scores = np.array([[0.9, 0.1], [0.8, 0.1], [0.7, 0.1]], np.float32)
    assert labeller.of_scores(scores).probabilities[:, 0].tolist() == [1, 1, 1]
    of = truth([[1, 0], [1, 0], [0, 1]], ("a", "b"))
    assert [values(label)["auc"] for label in evaluate(scores, labeller, of).labels] == [1, 1]


@pytest.mark.parametrize(("shows", "why"), [(1, "all 4 images show it"), (0, "none of 4 images shows it")])
def test_a_column_of_one_kind_has_no_auc_and_says_why(shows: int, why: str) -> None:
    present = np.array([[0, shows], [1, shows], [0, shows], [1, shows]])
    scores = np.array([[-1, 1], [1, 2], [-2, -3], [2, 4]], np.float32)
    labeller = Labeller(classifier(np.eye(2), ("a", "b")))
    evaluation = evaluate(scores, labeller, truth(present, ("a", "b")), resamples=20)
    whole, one_kind = evaluation.labels
    assert values(whole)["auc"] == 1
    assert np.isnan(values(one_kind)["auc"])
    assert np.isnan(one_kind.figures["auc"].samples).all()
    assert (one_kind.undefined, one_kind.roc) == (why, None)
    assert evaluation.macro["auc"].value == 1  # of those that have one


def test_an_image_whose_truth_is_not_known_is_left_out_for_that_label_alone() -> None:
    present = np.array([[1, -1], [0, 1], [1, 0], [0, -1]])
    scores = np.array([[1, -9], [-1, 1], [1, -1], [-1, 9]], np.float32)
    labeller = Labeller(classifier(np.eye(2), ("a", "b")))
    first, second = evaluate(scores, labeller, truth(present, ("a", "b"), [0, 1, 2, 2])).labels
    assert (first.images, first.positives, first.patients) == (4, 2, 3)
    assert (second.images, second.positives, second.patients) == (2, 1, 2)
    assert [values(label)["sensitivity"] for label in (first, second)] == [1, 1]
    assert [values(label)["kept_right"] for label in (first, second)] == [1, 1]


def test_only_labels_that_the_truth_knows_are_evaluated() -> None:
    scores = np.array([[9, 1], [9, -1]], np.float32)
    labeller = Labeller(classifier(np.eye(2), ("a", "b")))
    (label,) = evaluate(scores, labeller, truth([[1], [0]], ("b",))).labels
    assert (label.label, values(label)["auc"]) == ("b", 1)


def test_to_abstain_changes_neither_sensitivity_nor_specificity() -> None:
    scores = np.array([[3], [0.1], [0.1], [-3], [-0.1]], np.float32)
    of = truth([[1], [1], [0], [0], [0]], ("a",))
    abstaining = calibration(
        {"a": FindingCalibration(1.0, 0.0, 0.5, present_from=0.9, absent_below=0.1)}, abstain_level=0.9
    )
    made = classifier(np.eye(1), ("a",), scale=1.0)
    always = values(evaluate(scores, Labeller(made), of).labels[0])
    found = values(evaluate(scores, Labeller(made, abstaining), of).labels[0])
    assert {name: found[name] for name in ("f1", "sensitivity", "specificity")} == {
        name: always[name] for name in ("f1", "sensitivity", "specificity")
    }
    assert always["sensitivity"] == 1
    assert always["specificity"] == pytest.approx(2 / 3)
    assert (always["abstained"], always["kept_right"]) == (0, 0.8)
    assert (found["abstained"], found["kept_right"]) == (pytest.approx(0.6), 1)


def test_the_calibrated_probability_and_threshold_are_what_counts() -> None:
    scores = np.array([[1], [1], [-1], [-1]], np.float32)
    of = truth([[1], [0], [0], [0]], ("a",))
    fitted = calibration({"a": FindingCalibration(0.0, np.log(0.25 / 0.75), threshold=0.2)})
    label = evaluate(scores, Labeller(classifier(np.eye(1), ("a",)), fitted), of).labels[0]
    assert values(label)["calibration_error"] == pytest.approx(0, abs=1e-6)  # all at 0.25
    assert values(label)["specificity"] == 0  # all above 0.2
    assert label.threshold == 0.2
    assert label.reliability.probability == pytest.approx([0.25])
    assert label.reliability.present == pytest.approx([0.25])


def test_an_image_below_the_level_of_exclusive_labels_is_abstained_from_as_a_whole() -> None:
    made = classifier(np.eye(2), ("a", "b"), "exclusive", scale=1.0, thresholds=np.full(2, 0.7))
    scores = np.array([[2, 0], [0, 2], [0.1, 0]], np.float32)
    evaluation = evaluate(scores, Labeller(made), truth([[1, 0], [1, 0], [0, 1]], ("a", "b")))
    overall = evaluation.overall
    assert overall is not None
    assert overall.figures["abstained"].value == pytest.approx(1 / 3)
    assert overall.figures["kept_right"].value == 0.5
    assert overall.figures["accuracy"].value == pytest.approx(1 / 3)


def test_intervals_are_those_of_scikit_learn_on_the_same_resamples() -> None:
    scores, of, labeller = random_case("findings", 60)
    bootstrap = Bootstrap(of.patients, 40)
    (weights,) = bootstrap.weights()
    evaluation = evaluate_labels(scores, labeller, of, bootstrap)
    for column, label in enumerate(evaluation.labels):
        expected = [
            roc_auc_score(of.present[:, column], scores[:, column], sample_weight=weight)
            for weight in weights.T[1:]
        ]
        assert label.figures["auc"].samples == pytest.approx(expected, **EQUAL)
        interval = label.figures["auc"].interval
        assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))
