"""Zero-shot labels: which of several options the text encoder puts closest to an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.encoders import Encoder
from medsiglip_search.records import LabelScore


@dataclass(frozen=True, slots=True)
class Option:
    """One label and the texts that stand for it."""

    name: str
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Options of which one is chosen for an image."""

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class OptionScores:
    """How well each option fits each image.

    scores: (N, L) float32 cosine, higher is closer. probabilities: (N, L) float32, the softmax over the
    options; not a probability of disease.
    """

    label_set: LabelSet
    scores: np.ndarray
    probabilities: np.ndarray

    def best(self) -> list[LabelScore]:
        """Return the best option of each image."""
        names = [option.name for option in self.label_set.options]
        chosen = self.scores.argmax(axis=1)
        return [
            LabelScore(names[column], float(self.scores[row, column]), float(self.probabilities[row, column]))
            for row, column in enumerate(chosen)
        ]


def embed_options(options: Sequence[Option], encoder: Encoder) -> np.ndarray:
    """Return (L, D) float32 unit rows: the mean of each option's prompt embeddings (arXiv 2507.05201)."""
    prompts = [prompt for option in options for prompt in option.prompts]
    embeddings = encoder.embed_texts(prompts)
    starts = np.cumsum([0] + [len(option.prompts) for option in options[:-1]])
    means = np.add.reduceat(embeddings, starts, axis=0)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def zero_shot(embeddings: np.ndarray, label_set: LabelSet, encoder: Encoder) -> OptionScores:
    """Return the scores of (N, D) unit image embeddings against every option of the set."""
    scores = embeddings.astype(np.float32) @ embed_options(label_set.options, encoder).T
    logits = encoder.scale * scores
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return OptionScores(label_set, scores, exponentials / exponentials.sum(axis=1, keepdims=True))
