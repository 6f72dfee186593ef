"""How well an encoder does on a gallery of the synthetic archive, whose findings are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.cases import without_side
from medsiglip_search.demo.findings import MODALITIES, SIDES, Modality
from medsiglip_search.encoders import Encoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.labels import Label, LabelSet
from medsiglip_search.labels.classifier import zero_shot
from medsiglip_search.records import Instance

K = 10


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares, 0..1; None where the archive is too small to tell.

    label_top1: images whose best label, of the findings of their modality and "normal", is true.
    text_p10: relevant images among the first 10 hits of the name of a finding, with and without side.
    image_p10: hits with a finding of the query image among the first 10 of other patients.
    side_top1: sided findings for which the true side scores higher than the other.
    """

    images: int
    label_top1: float | None
    text_p10: float | None
    image_p10: float | None
    side_top1: float | None


def measure(gallery: Gallery, encoder: Encoder) -> Figures:
    """Return the figures of a gallery that was indexed with the archive's metadata.csv."""
    image_ids, embeddings = gallery.embeddings()
    instances = gallery.instances(image_ids.tolist())
    embeddings = embeddings.astype(np.float32)
    truths = [labels_of(instance) for instance in instances]
    return Figures(
        images=len(instances),
        label_top1=_label_top1(instances, embeddings, truths, encoder),
        text_p10=_text_p10(embeddings, truths, encoder),
        image_p10=_image_p10(instances, embeddings, truths),
        side_top1=_side_top1(embeddings, truths, encoder),
    )


def label_set(modality: Modality) -> LabelSet:
    """Return the findings of a modality and its normal picture as labels of which one is true."""
    labels = [Label(modality.normal[0], modality.normal)]
    labels += [Label(finding.name, finding.phrases) for finding in modality.findings]
    return LabelSet(modality.name, "exclusive", tuple(labels))


def labels_of(instance: Instance) -> frozenset[str]:
    """Return all true labels of an image: its findings with and without side, or that it is normal."""
    findings = str(instance.sidecar.get("findings") or "").split(";")
    named = {name for finding in findings if finding for name in (finding, without_side(finding))}
    if named:
        return frozenset(named)
    return frozenset(m.normal[0] for m in MODALITIES if m.code == instance.attributes.modality)


def _label_top1(
    instances: Sequence[Instance], embeddings: np.ndarray, truths: Sequence[frozenset[str]], encoder: Encoder
) -> float | None:
    right = []
    for modality in MODALITIES:
        rows = [row for row, each in enumerate(instances) if each.attributes.modality == modality.code]
        if rows:
            classifier = zero_shot(label_set(modality), encoder)
            best = classifier.scores(embeddings[rows]).argmax(axis=1)
            right += [classifier.labels[n] in truths[row] for row, n in zip(rows, best, strict=True)]
    return _mean(right)


def _text_p10(embeddings: np.ndarray, truths: Sequence[frozenset[str]], encoder: Encoder) -> float | None:
    queries = sorted(set().union(*truths))
    relevant = np.array([[query in truth for truth in truths] for query in queries])
    return _mean(precision_at_k(encoder.embed_texts(queries) @ embeddings.T, relevant, K))


def _image_p10(
    instances: Sequence[Instance], embeddings: np.ndarray, truths: Sequence[frozenset[str]]
) -> float | None:
    names = sorted(set().union(*truths))
    # Two images are alike when they share a finding, whichever its side.
    shows = np.array([[name in truth and without_side(name) == name for name in names] for truth in truths])
    patients = np.array([str(instance.attributes.patient) for instance in instances])
    relevant = shows.astype(np.float32) @ shows.T.astype(np.float32) > 0
    others = patients[:, None] != patients[None, :]
    return _mean(precision_at_k(embeddings @ embeddings.T, relevant, K, others))


def _side_top1(embeddings: np.ndarray, truths: Sequence[frozenset[str]], encoder: Encoder) -> float | None:
    sided = [finding.name for modality in MODALITIES for finding in modality.findings if finding.sided]
    texts = encoder.embed_texts([f"{side} {name}" for name in sided for side in SIDES])
    scores = (embeddings @ texts.T).reshape(len(embeddings), len(sided), 2)
    right = []
    for row, truth in enumerate(truths):
        for column, name in enumerate(sided):
            true = [f"{side} {name}" in truth for side in SIDES]
            if sum(true) == 1:
                right.append(scores[row, column].argmax() == true.index(True))
    return _mean(right)


def precision_at_k(
    scores: np.ndarray, relevant: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> np.ndarray:
    """Return (Q,) float64: the share of relevant images among the first k of each query.

    scores: (Q, N), higher is closer; ties break by column. relevant: (Q, N) bool.
    allowed: (Q, N) bool, which images may be hits at all; all by default.
    Where fewer than k images are relevant the first that many are looked at, so that 1 is always within
    reach, unlike trec_eval's figure of this name, which `evaluate` gives; NaN where none is.
    """
    if allowed is None:
        allowed = np.ones_like(relevant)
    relevant = relevant & allowed
    order = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(relevant, order, axis=1)
    depth = np.minimum(relevant.sum(axis=1), k)
    found = np.cumsum(ranked, axis=1)[np.arange(len(scores)), np.maximum(depth, 1) - 1]
    return np.where(depth > 0, found / np.maximum(depth, 1), np.nan)


def _mean(shares: Sequence[float] | np.ndarray) -> float | None:
    """Return the mean of what is not NaN, None where nothing is."""
    told = [float(share) for share in shares if not np.isnan(share)]
    return float(np.mean(told)) if told else None
