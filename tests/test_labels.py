from collections.abc import Sequence

import numpy as np
import pytest

from medsiglip_search.labels import LabelSet, Option, embed_options, zero_shot
from medsiglip_search.records import PreprocessSpec

TEXTS = {"up": (0.0, 1.0), "high": (0.6, 0.8), "right": (1.0, 0.0)}


class Compass:
    """An encoder of two dimensions that knows three words."""

    name = revision = weights_digest = "compass"
    dim = 2
    spec = PreprocessSpec()
    batch_size = 1
    scale = 10.0
    bias = 0.0

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([TEXTS[text] for text in texts], np.float32)

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        raise NotImplementedError


LABELS = LabelSet("direction", (Option("upwards", ("up", "high")), Option("sideways", ("right",))))


def test_the_prompts_of_an_option_are_averaged_to_unit_length():
    up, right = embed_options(LABELS.options, Compass())
    expected = np.array([0.3, 0.9]) / np.linalg.norm([0.3, 0.9])
    assert up == pytest.approx(expected, abs=1e-6)
    assert right == pytest.approx([1.0, 0.0])


def test_scores_are_cosines_and_probabilities_their_scaled_softmax():
    result = zero_shot(np.array([[1.0, 0.0]], np.float16), LABELS, Compass())
    up = 0.3 / np.linalg.norm([0.3, 0.9])
    assert result.scores[0] == pytest.approx([up, 1.0], abs=1e-6)
    expected = np.exp([10 * up, 10.0])
    assert result.probabilities[0] == pytest.approx(expected / expected.sum(), abs=1e-6)


def test_the_best_option_of_each_image_is_named():
    best = zero_shot(np.array([[1.0, 0.0], [0.0, 1.0]]), LABELS, Compass()).best()
    assert [score.label for score in best] == ["sideways", "upwards"]
