"""The questions that `benchmarks.search_quality` asks of a synthetic archive, by rule from its findings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.cases import without_side
from medsiglip_search.demo.findings import MODALITIES, SIDES, Finding, Modality
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import Instance

FOREIGN = (
    "a cat on a sofa",
    "the stock market fell on Monday",
    "recipe for apple pie",
    "a red sports car",
    "satellite image of a hurricane",
    "invoice for office supplies",
    "photo of a mountain lake",
    "football match",
    "birthday party",
    "quantum field theory",
    "a map of Paris",
    "guitar solo",
    "train timetable",
    "how do I reset my password",
    "a bowl of soup",
    "dogs playing in the snow",
    "annual report",
    "architecture of a cathedral",
)
"""Texts that no medical picture answers."""


@dataclass(frozen=True, slots=True)
class Negation:
    """A text that says that something is absent. present: None where it names no finding."""

    kind: str
    text: str
    modality: Modality
    present: Finding | None
    absent: tuple[Finding, ...]

    @property
    def without_no(self) -> str:
        """The text as an encoder hears it that heeds no "no"."""
        return " ".join(re.sub(r"\b(no|without|or)\b", " ", self.text).split())


@dataclass(frozen=True, slots=True)
class Truth:
    """What each of the N images of a gallery shows: findings, with their side and without it."""

    instances: list[Instance]
    shown: list[frozenset[str]]
    modalities: np.ndarray
    image_ids: np.ndarray

    @classmethod
    def of(cls, gallery: Gallery) -> "Truth":
        image_ids = gallery.select(None)
        instances = gallery.instances(image_ids)
        return cls(
            instances,
            [_shown(instance) for instance in instances],
            np.array([instance.attributes.modality for instance in instances]),
            image_ids,
        )

    def shows(self, name: str) -> np.ndarray:
        """Return whether each image shows a finding, (N,) bool."""
        return np.array([name in shown for shown in self.shown])

    def fits(self, negation: Negation) -> np.ndarray:
        """Return of which images the text is true, (N,) bool; of no picture of another modality."""
        fits = self.modalities == negation.modality.code
        if negation.present is not None:
            fits &= self.shows(negation.present.name)
        for absent in negation.absent:
            fits &= ~self.shows(absent.name)
        return fits

    def has_both(self, negation: Negation) -> np.ndarray:
        """Return which images show what is to be there and what is not, (N,) bool."""
        assert negation.present is not None
        both = self.shows(negation.present.name)
        return both & np.any([self.shows(absent.name) for absent in negation.absent], axis=0)


def negations() -> Iterator[Negation]:
    """Yield "no B", "M without B" for each finding, "A without B", "A, no B", "A, no B or C" for each two."""
    for modality in MODALITIES:
        for number, absent in enumerate(modality.findings):
            name = absent.name
            yield Negation("no B", f"no {name}", modality, None, (absent,))
            yield Negation("M without B", f"{modality.name} without {name}", modality, None, (absent,))
            third = modality.findings[(number + 1) % len(modality.findings)]
            for present in modality.findings:
                if present is absent:
                    continue
                yield Negation("A without B", f"{present.name} without {name}", modality, present, (absent,))
                yield Negation("A, no B", f"{present.name}, no {name}", modality, present, (absent,))
                if present is not third:
                    text = f"{present.name}, no {name} or {third.name}"
                    yield Negation("A, no B or C", text, modality, present, (absent, third))


def names_of(finding: Finding) -> list[str]:
    """Return all wordings of a finding, those with a side too."""
    return [*finding.phrases, *(f"{side} {finding.name}" for side in SIDES if finding.sided)]


def _shown(instance: Instance) -> frozenset[str]:
    findings = str(instance.sidecar.get("findings") or "").split(";")
    return frozenset(name for finding in findings if finding for name in (finding, without_side(finding)))
