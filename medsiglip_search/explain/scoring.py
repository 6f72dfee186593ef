"""What the encoder sees in a picture: zero-shot probabilities of findings, and on which side."""

from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.asking import findings_of
from medsiglip_search.demo.asking import modality_of as demo_modality_of
from medsiglip_search.encoders import DEMO_ENCODER, Encoder
from medsiglip_search.errors import InvalidLabelSet
from medsiglip_search.explain.claims.lexicon import regions
from medsiglip_search.labels import LabelSet
from medsiglip_search.labels.calibration import Calibration
from medsiglip_search.labels.classifier import zero_shot
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.labels.opening import open_label_set

LABEL_SETS = {"CR": "chexpert-13", "DX": "chexpert-13"}
"""The shipped sets of findings, by the modality that they are asked of."""

# Pictures that show the patient's side: which eye or which arm is not to be seen.
_SIDED_MODALITIES = frozenset({"CR", "DX", "CT", "MR", "PT"})
_MIDLINE = (
    "cardio",
    "heart",
    "mediastin",
    "hydrocephalus",
    "hila",
    "hilar",
    "device",
    "edema",
    "ventricular",
    "scoliosis",
)


@dataclass(frozen=True, slots=True)
class Score:
    """A finding in a picture: see `FindingEvidence`."""

    finding: str
    phrases: tuple[str, ...]
    probability: float
    threshold: float
    left: float | None


class FindingScorer:
    """Scores pictures by their embeddings against one label set."""

    def __init__(self, label_set: LabelSet, encoder: Encoder, calibration: Calibration | None = None) -> None:
        """Embed the set's texts. Raises InvalidLabelSet for one of exclusive labels."""
        if label_set.mode != "findings":
            raise InvalidLabelSet(
                f"{label_set.name}: its labels exclude each other; explanations need a set of findings, such "
                f"as {LABEL_SETS['CR']}"
            )
        self._labels = label_set.labels
        self._labeller = Labeller(zero_shot(label_set, encoder), calibration)
        texts = [f"{side} {label.name}" for label in self._labels for side in ("left", "right")]
        left, right = np.split(encoder.embed_texts(texts).reshape(-1, 2, encoder.dim), 2, axis=1)
        self._left_from_right = encoder.scale * (left - right)[:, 0]

    def score(self, embedding: np.ndarray, modality: str | None) -> tuple[Score, ...]:
        """Return each finding's score in a picture of this (D,) embedding; sides where it can show them."""
        row = np.array(embedding, np.float32).reshape(1, -1)
        probabilities = self._labeller.label(row).best[0]
        left = 1 / (1 + np.exp(-(self._left_from_right @ row[0])))
        return tuple(
            Score(
                label.name.lower(),
                tuple(prompt.lower() for prompt in label.prompts),
                float(probability),
                float(threshold),
                float(share) if modality in _SIDED_MODALITIES and not _is_midline(label.name) else None,
            )
            for label, probability, threshold, share in zip(
                self._labels, probabilities, self._labeller.thresholds, left, strict=True
            )
        )


class Scorers:
    """The scorer that fits a picture, each made when it is first needed."""

    def __init__(
        self, encoder: Encoder, chosen: LabelSet | None = None, calibration: Calibration | None = None
    ) -> None:
        """Score every picture against the set that was chosen, else those whose modality has one."""
        self._encoder = encoder
        self._chosen = FindingScorer(chosen, encoder, calibration) if chosen is not None else None
        self._made: dict[str, FindingScorer | None] = {}

    def modality_of(self, embedding: np.ndarray) -> str | None:
        """Return the modality of a picture whose file says none; None where that was not tried."""
        return demo_modality_of(embedding, self._encoder) if self._encoder.name == DEMO_ENCODER else None

    def score(
        self, embedding: np.ndarray, modality: str | None, body_part: str | None = None
    ) -> tuple[Score, ...]:
        """Return the scores of a picture, none where no set is made for its kind and part of the body."""
        scorer = self._chosen or self._scorer_of(modality or "")
        if self._chosen is None and self._encoder.name != DEMO_ENCODER and body_part:
            # The shipped sets of findings are of the chest.
            scorer = scorer if "chest" in regions(body_part, None) else None
        return scorer.score(embedding, modality) if scorer is not None else ()

    def _scorer_of(self, modality: str) -> FindingScorer | None:
        if modality not in self._made:
            label_set = self._label_set(modality)
            self._made[modality] = FindingScorer(label_set, self._encoder) if label_set else None
        return self._made[modality]

    def _label_set(self, modality: str) -> LabelSet | None:
        if self._encoder.name == DEMO_ENCODER:
            return findings_of(modality)
        return open_label_set(LABEL_SETS[modality]) if modality in LABEL_SETS else None


def _is_midline(finding: str) -> bool:
    return any(part in finding.lower() for part in _MIDLINE)
