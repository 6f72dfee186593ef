"""What label sets and probes come to: one matrix, against which stored embeddings are multiplied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medsiglip_search.labels import LabelSet, Mode
from medsiglip_search.labels.kept_texts import TextEncoder

Kind = Literal["zero-shot", "probe"]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Linear labels over one encoder's embeddings.

    labels: L names. weights: (L, D) float32; bias: (L,) float32.
    scale: a logit is `scale * score`. thresholds: (L,) float64, the probability from which one is present.
    digest: of the label set or the probe that it comes from, so that a calibration finds its own.
    words: (L, D) float32, of norm 1, what stands for each label, to search by it; None of a probe.
    """

    name: str
    mode: Mode
    kind: Kind
    labels: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    scale: float
    thresholds: np.ndarray
    digest: str
    words: np.ndarray | None = None

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (N, L) float32 scores of (N, D) embeddings, higher is closer.

        Zero-shot: the cosine with an exclusive label, or that with the finding less that with its absence.
        Of a probe: the logit.
        """
        import torch

        # torch computes on as many processors as its thread is given, NumPy's BLAS always on all. It may not
        # be lent what it must not write to, such as the store's own memory.
        rows = embeddings.astype(np.float32, copy=not embeddings.flags.writeable)
        scores = torch.from_numpy(rows) @ torch.from_numpy(self.weights).T
        scores += torch.from_numpy(self.bias)
        return scores.numpy()

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return (N, L) float32: the softmax over exclusive labels, or of present against absent for each.

        Not calibrated, and so no probability of disease.
        """
        return probabilities_of(np.float32(self.scale) * scores, self.mode)


def probabilities_of(logits: np.ndarray, mode: Mode) -> np.ndarray:
    """Return what (N, L) logits come to: each finding's own probability, or the softmax over all labels."""
    import torch

    # Five times as fast as SciPy's.
    held = torch.from_numpy(logits)
    # A softmax over two, present and absent, is the logistic function of their difference.
    return (torch.sigmoid(held) if mode == "findings" else torch.softmax(held, dim=1)).numpy()


def zero_shot(label_set: LabelSet, encoder: TextEncoder) -> Classifier:
    """Return the classifier that the prompts of a label set come to with this encoder.

    An option's embedding is the mean of its prompts' unit embeddings, of norm 1 again (arXiv 2507.05201).
    """
    options = [label.prompts for label in label_set.labels]
    if label_set.mode == "findings":
        options += [label.absent for label in label_set.labels]
    embeddings = _of_options(options, encoder)
    words, absent = np.split(embeddings, [len(label_set.labels)])
    weights = words - absent if label_set.mode == "findings" else words
    return Classifier(
        name=label_set.name,
        mode=label_set.mode,
        kind="zero-shot",
        labels=tuple(label.name for label in label_set.labels),
        weights=weights,
        bias=np.zeros(len(weights), np.float32),
        scale=encoder.scale,
        thresholds=np.array([label.threshold_in(label_set.mode) for label in label_set.labels]),
        digest=label_set.digest,
        words=words,
    )


def _of_options(options: Sequence[tuple[str, ...]], encoder: TextEncoder) -> np.ndarray:
    """Return the (O, D) float32 embeddings of options, each of several prompts."""
    texts = list(dict.fromkeys(prompt for prompts in options for prompt in prompts))
    embeddings = dict(zip(texts, encoder.embed_texts(texts), strict=True))
    means = np.stack([np.mean([embeddings[prompt] for prompt in prompts], axis=0) for prompts in options])
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
