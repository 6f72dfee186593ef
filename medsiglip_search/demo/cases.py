"""Invented patients: which studies they have and what those show. Deterministic from a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.drawing import DRAW
from medsiglip_search.demo.drawing.canvas import Box, Rng
from medsiglip_search.demo.findings import MODALITIES, SIDES, Finding, Modality, Side, Sign
from medsiglip_search.images.levels import render_ct, render_grey
from medsiglip_search.windows import Window

IMAGES_PER_PATIENT = 4
_STUDY_SIZES = ((2, 2), (1, 3), (3, 1), (2, 2), (4,), (2, 1, 1))
_SECOND_FINDING = {"CR": 0.25, "CT": 0.15, "OP": 0.2, "DMS": 0.0, "SM": 0.15}

Card = tuple[Modality, Finding | None]
CARDS: list[Card] = [(modality, finding) for modality in MODALITIES for finding in (None, *modality.findings)]
"""What a study can be about; None is a normal one."""

CHEST_WINDOW = Window(0, 4095)
"""The window that the radiographs are written with: all 12 bits."""


@dataclass(frozen=True, slots=True)
class Study:
    """One visit: pictures of one modality that show the same signs.

    patient, study: identifiers, counted from 1. seed: what its pictures are drawn from.
    """

    patient: int
    study: int
    modality: Modality
    signs: tuple[Sign, ...]
    images: int
    anatomy_seed: int
    seed: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawn picture.

    values: as the device gives them: uint16 of 12 bits for CR, int16 HU for CT, uint8 RGB otherwise.
    boxes: one for each sign of the study, None for a sign without a place.
    """

    values: np.ndarray
    boxes: tuple[Box | None, ...]


def plan(seed: int, images: int) -> list[Study]:
    """Return studies of `images` pictures in all; every finding and "normal" come equally often."""
    rng = np.random.default_rng((seed, 0))
    deck = _deck(rng)
    studies: list[Study] = []
    patient, left = 0, images
    while left:
        patient += 1
        anatomy_seed = int(rng.integers(2**32))
        for wanted in _STUDY_SIZES[rng.integers(len(_STUDY_SIZES))]:
            size = min(wanted, left)
            if not size:
                break
            modality, finding = next(deck)
            signs = draw_signs(rng, modality, finding)
            study_seed = int(rng.integers(2**32))
            studies.append(Study(patient, len(studies) + 1, modality, signs, size, anatomy_seed, study_seed))
            left -= size
    return studies


def draw_study(study: Study) -> Iterator[Drawing]:
    """Yield the study's pictures: the same signs and anatomy, another exposure and texture."""
    rng = np.random.default_rng((study.seed, 1))
    for _ in range(study.images):
        anatomy = np.random.default_rng((study.anatomy_seed, MODALITIES.index(study.modality)))
        values, boxes = DRAW[study.modality.code](anatomy, rng, study.signs)
        yield Drawing(values, tuple(boxes))


def draw_signs(rng: Rng, modality: Modality, finding: Finding | None) -> tuple[Sign, ...]:
    """Return the finding as a sign of random side, extent and place, sometimes with a second one."""
    if finding is None:
        return ()
    shown = [finding]
    if rng.random() < _SECOND_FINDING[modality.code]:
        others = [other for other in modality.findings if other is not finding]
        shown.append(others[rng.integers(len(others))])
    first = _sign(rng, shown[0], SIDES[rng.integers(2)])
    # A second finding stays out of the way of the first: the other side, the other corner.
    opposite = SIDES[1 - SIDES.index(first.side)] if first.side else SIDES[rng.integers(2)]
    return (first, *(_sign(rng, other, opposite, away_from=first.place) for other in shown[1:]))


def render(modality: str, values: np.ndarray) -> np.ndarray:
    """Return (rows, columns, 3) uint8 RGB, as reading the written file gives it."""
    if modality == "CR":
        return render_grey(values, CHEST_WINDOW)
    return render_ct(values) if modality == "CT" else values


def _sign(rng: Rng, finding: Finding, side: Side, away_from: tuple[float, float] | None = None) -> Sign:
    x, y = (float(v) for v in rng.random(2))
    if away_from:
        x, y = (1 - away_from[0] > 0.5) * 0.6 + 0.4 * x, (1 - away_from[1] > 0.5) * 0.6 + 0.4 * y
    return Sign(finding.name, side if finding.sided else None, float(rng.random()), (x, y))


def _deck(rng: Rng) -> Iterator[Card]:
    """Yield cards for ever, each once before any comes again."""
    while True:
        yield from (CARDS[index] for index in rng.permutation(len(CARDS)))


def labels_of(signs: Sequence[Sign]) -> list[str]:
    """Return the findings as the archive's metadata names them, sides included."""
    return [sign.label for sign in signs]


def without_side(label: str) -> str:
    """Return the finding's name without its side."""
    side, _, finding = label.partition(" ")
    return finding if side in SIDES else label
