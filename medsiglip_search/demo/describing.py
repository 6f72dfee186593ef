"""What the demo explainer learns to say of a drawn picture: sentences, and the same as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.drawing.canvas import Rng
from medsiglip_search.demo.findings import Finding, Modality, Sign

Place = str | None
"""Where in the picture a finding lies, see `PLACES`; None for one that has no place of its own."""

PLACES = ("upper", "middle", "lower")

NORMAL_STRUCTURES: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {
    "CR": (
        ("the heart", frozenset({"cardiomegaly"})),
        ("the hila", frozenset({"hilar enlargement"})),
        ("the lungs", frozenset({"consolidation", "pulmonary nodule"})),
        ("the pleural spaces", frozenset({"pleural effusion", "pneumothorax"})),
    ),
    "CT": (
        ("the ventricles", frozenset({"hydrocephalus"})),
        ("the skull", frozenset({"lytic skull lesion"})),
        ("the brain", frozenset({"intracerebral hemorrhage", "infarct", "subdural hematoma"})),
    ),
    "OP": (
        ("the optic disc", frozenset({"glaucomatous cupping"})),
        (
            "the retina",
            frozenset({"retinal hemorrhage", "hard exudates", "cotton wool spots", "laser scars"}),
        ),
    ),
    "DMS": (
        (
            "the skin",
            frozenset({"melanoma", "nevus", "seborrheic keratosis", "basal cell carcinoma", "hemangioma"}),
        ),
    ),
    "SM": (
        ("the glands", frozenset({"carcinoma", "mucin pool"})),
        ("the stroma", frozenset({"fibrosis", "lymphocytic infiltrate", "necrosis"})),
    ),
}
"""What can look normal in each modality, and the findings that disturb it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding as it is described."""

    finding: str
    side: str | None
    place: Place
    size: str = ""


def seen(signs: Sequence[Sign], places: Sequence[Place]) -> list[Seen]:
    """Return the signs of a picture as they are described, each with its place in it."""
    return [
        Seen(sign.finding, sign.side, place, "" if sign.size == "moderate" else sign.size)
        for sign, place in zip(signs, places, strict=True)
    ]


def place_of(rows: np.ndarray) -> Place:
    """Return where a finding lies whose rows of patches are true, (GRID,) bool."""
    inside = np.flatnonzero(rows)
    if len(inside) in (0, len(rows)):
        return None
    return PLACES[int((inside.mean() + 0.5) / len(rows) * len(PLACES))]


def description(rng: Rng, modality: Modality, findings: Sequence[Seen]) -> str:
    """Return what tells of a picture: sentences, in one of many wordings, and a line of JSON."""
    names = {each.finding for each in findings}
    normal = [name for name, disturbed in NORMAL_STRUCTURES[modality.code] if not names & disturbed]
    sentences = [_capital(str(rng.choice(modality.phrases)))]
    sentences += [_capital(_of_finding(rng, each)) for each in findings]
    if not findings:
        sentences.append(str(rng.choice(("No abnormality is seen", "No abnormal finding"))))
    elif rng.random() < 0.3:
        others = [other for other in modality.findings if other.name not in names]
        sentences.append(f"No {_of(rng, others).name}")
    if normal:
        verb = "looks" if len(normal) == 1 and not normal[0].endswith("s") else "look"
        sentences.append(f"{_capital(_joined(normal))} {verb} normal")
    told = {
        "modality": modality.name,
        "findings": [
            {"finding": each.finding, "side": each.side or "none", "place": each.place or ""}
            for each in findings
        ],
        "normal": normal,
    }
    return f"{'. '.join(sentences)}.\n{json.dumps(told)}"


def _of_finding(rng: Rng, each: Seen) -> str:
    size = each.size if rng.random() < 0.7 else ""
    place = f"in the {each.place} part" if each.place else ""
    opening = str(rng.choice(("", "", "there is a"))) if not each.finding.endswith("s") else ""
    return " ".join(filter(None, (opening, size, each.side, each.finding, place)))


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _of(rng: Rng, findings: Sequence[Finding]) -> Finding:
    return findings[int(rng.integers(len(findings)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
