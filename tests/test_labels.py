"""What label sets come to: one matrix, scores and probabilities."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from medsiglip_search.labels import Label, LabelSet
from medsiglip_search.labels.classifier import zero_shot
from medsiglip_search.records import PreprocessSpec

TEXTS = {"up": (0.0, 1.0), "high": (0.6, 0.8), "right": (1.0, 0.0), "down": (0.0, -1.0)}


class Compass:
    """An encoder of two dimensions that knows four words."""

    name = revision = weights_digest = "compass"
    dim = 2
    spec = PreprocessSpec()
    batch_size = 1
    scale = 10.0
    bias = 0.0

    def __init__(self) -> None:
        self.asked: list[str] = []

    def with_spec(self, spec: PreprocessSpec) -> "Compass":
        return self

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([TEXTS[text] for text in texts], np.float32)

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        raise NotImplementedError


EXCLUSIVE = LabelSet(
    "direction", "exclusive", (Label("upwards", ("up", "high")), Label("sideways", ("right",)))
)
FINDINGS = LabelSet(
    "direction",
    "findings",
    (Label("upwards", ("up", "high"), ("right",), 0.7), Label("down", ("down",), ("right",))),
)
UPWARDS = np.array([0.3, 0.9]) / np.linalg.norm([0.3, 0.9])


def test_the_prompts_of_a_label_are_averaged_to_unit_length() -> None:
    assert zero_shot(EXCLUSIVE, Compass()).weights == pytest.approx(np.array([UPWARDS, (1, 0)]), abs=1e-6)


def test_a_finding_is_its_prompts_less_those_of_its_absence() -> None:
    classifier = zero_shot(FINDINGS, Compass())
    assert classifier.words == pytest.approx(np.array([UPWARDS, (0.0, -1.0)]), abs=1e-6)
    assert classifier.weights == pytest.approx(np.array([UPWARDS - (1, 0), (-1.0, -1.0)]), abs=1e-6)


def test_each_text_is_embedded_once() -> None:
    encoder = Compass()
    zero_shot(FINDINGS, encoder)
    assert sorted(encoder.asked) == ["down", "high", "right", "up"]


def test_scores_of_exclusive_labels_are_cosines_and_probabilities_their_scaled_softmax() -> None:
    classifier = zero_shot(EXCLUSIVE, Compass())
    scores = classifier.scores(np.array([[1.0, 0.0]], np.float16))
    assert scores.dtype == np.float32
    assert scores[0] == pytest.approx([UPWARDS[0], 1.0], abs=1e-6)
    expected = np.exp(10 * scores[0]) / np.exp(10 * scores[0]).sum()
    assert classifier.probabilities(scores)[0] == pytest.approx(expected, rel=1e-5)


def test_probabilities_of_findings_are_those_of_present_against_absent() -> None:
    classifier = zero_shot(FINDINGS, Compass())
    image = np.array([[0.6, 0.8]])
    scores = classifier.scores(image)
    cosines = image @ np.array([UPWARDS, (1.0, 0.0), (0.0, -1.0)]).T
    assert scores[0] == pytest.approx(
        [cosines[0, 0] - cosines[0, 1], cosines[0, 2] - cosines[0, 1]], abs=1e-6
    )
    two = np.exp(10 * cosines[0, :2])
    assert classifier.probabilities(scores)[0, 0] == pytest.approx(two[0] / two.sum(), rel=1e-5)


def test_a_bias_is_added_to_the_scores_of_each_label() -> None:
    classifier = replace(zero_shot(FINDINGS, Compass()), bias=np.array([0.25, -0.5], np.float32))
    scores = classifier.scores(np.array([[0.0, 1.0], [0.0, -1.0]], np.float16))
    assert scores == pytest.approx(np.array([[UPWARDS[1] + 0.25, -1.5], [0.25 - UPWARDS[1], 0.5]]), abs=1e-6)
    expected = 1 / (1 + np.exp(-10 * scores))
    assert classifier.probabilities(scores) == pytest.approx(expected, rel=1e-5)


def test_extreme_scores_have_probabilities_too() -> None:
    classifier = zero_shot(FINDINGS, Compass())
    assert classifier.probabilities(np.array([[1e6, -1e6]], np.float32)).tolist() == [[1.0, 0.0]]


def test_thresholds_are_the_set_s_own_or_those_of_its_mode() -> None:
    assert zero_shot(FINDINGS, Compass()).thresholds.tolist() == [0.7, 0.5]
    assert zero_shot(EXCLUSIVE, Compass()).thresholds.tolist() == [0.0, 0.0]


def test_a_classifier_tells_what_it_comes_from() -> None:
    classifier = zero_shot(FINDINGS, Compass())
    assert (classifier.name, classifier.mode, classifier.kind) == ("direction", "findings", "zero-shot")
    assert classifier.labels == ("upwards", "down")
    assert classifier.digest == FINDINGS.digest
    assert (classifier.scale, classifier.bias.tolist()) == (10.0, [0.0, 0.0])
