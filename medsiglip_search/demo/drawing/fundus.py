"""Fundus photographs, drawn in RGB."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.drawing.canvas import (
    Box,
    Rng,
    blob,
    box_of,
    discs,
    ellipse,
    paint,
    radius,
    smooth_noise,
    soft,
    strokes,
)
from medsiglip_search.demo.findings import Sign

SHAPE = (288, 320)
ASPECT = SHAPE[1] / SHAPE[0]
DISC_R = 0.062
"""Of the optic disc, 0..1 of the picture's width."""


@dataclass(frozen=True, slots=True)
class Fundus:
    """What the findings need to know of the anatomy; lengths are 0..1 of the picture's sides.

    nasal: -1 or 1, the direction in x to the nose, where the optic disc is.
    field: mask of what the camera sees.
    """

    nasal: int
    disc_x: float
    disc_y: float
    macula_x: float
    field: np.ndarray


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (288, 320, 3) uint8 RGB and a box for each sign, None for laser scars.

    Raises ValueError for a finding that a fundus photograph cannot show.
    """
    cupping = next((sign.extent for sign in signs if sign.finding == "glaucomatous cupping"), None)
    picture, fundus = _normal_fundus(anatomy, rng, cupping)

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding not in _FINDINGS:
            raise ValueError(f"a fundus photograph cannot show {sign.finding}")
        boxes.append(_FINDINGS[sign.finding](picture, fundus, rng, sign))

    picture += 0.012 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture * 255, 0, 255).astype(np.uint8), boxes


def _normal_fundus(anatomy: Rng, rng: Rng, cupping: float | None) -> tuple[np.ndarray, Fundus]:
    """Return the picture, (288, 320, 3) float32 in about 0..1, and where things are in it.

    cupping: its extent; None for an optic cup of normal size.
    """
    nasal = 1 if rng.random() < 0.5 else -1
    level = radius(SHAPE, 0.5, 0.5, 0.44, 0.44 * ASPECT)
    picture = np.zeros((*SHAPE, 3), np.float32)
    shade = np.clip(1.08 - 0.35 * level**2, 0, 1.1)[..., None] * anatomy.uniform(0.85, 1.1)
    retina = np.array([0.72, 0.33, 0.15], np.float32) * shade
    retina += 0.02 * smooth_noise(rng, SHAPE, 14)[..., None]
    paint(picture, soft(level, 0.02), retina)

    disc_x, disc_y = 0.5 + nasal * anatomy.uniform(0.20, 0.235), 0.5 + rng.uniform(-0.02, 0.02)
    macula_x = 0.5 - nasal * 0.10
    fundus = Fundus(nasal, disc_x, disc_y, macula_x, field=soft(level, 0.05))
    paint(picture, 0.35 * ellipse(SHAPE, macula_x, 0.51, 0.09, 0.09 * ASPECT, edge=1.2), (0.42, 0.15, 0.06))
    paint(picture, 0.75 * strokes(SHAPE, _vessels(rng, fundus)) * fundus.field, (0.40, 0.09, 0.05))
    paint(picture, _on_disc(fundus, DISC_R, edge=0.2), (0.93, 0.72, 0.42))
    cup_to_disc = anatomy.uniform(0.25, 0.38) if cupping is None else 0.80 + 0.10 * cupping
    paint(picture, _on_disc(fundus, DISC_R * cup_to_disc, edge=0.25), (1.0, 0.97, 0.88))
    return picture, fundus


def _vessels(rng: Rng, fundus: Fundus) -> list[tuple[np.ndarray, float]]:
    """Return paths for `strokes`: three arcs up and three down from the optic disc."""
    nasal = fundus.nasal
    t = np.linspace(0, 1, 20)
    paths = []
    for vertical in (-1, 1):
        for spread, width in ((0.16, 0.013), (0.28, 0.011), (0.34, 0.008)):
            reach = rng.uniform(0.55, 0.75) if spread > 0.2 else rng.uniform(0.3, 0.45)
            x = fundus.disc_x - nasal * reach * t + nasal * 0.15 * np.sin(t * 3) * (spread < 0.2)
            winding = 0.012 * np.sin(t * 11 + rng.uniform(0, 6))
            y = fundus.disc_y + vertical * (spread * 1.25 * np.sin(t * 2.2) + winding)
            paths.append((np.stack([x, y], axis=1), width))
    return paths


def _on_disc(fundus: Fundus, r: float, edge: float) -> np.ndarray:
    """Return the mask of the optic disc, or of its cup: a little higher than wide."""
    return ellipse(SHAPE, fundus.disc_x, fundus.disc_y, r, r * ASPECT * 1.08, edge=edge)


def _beside_macula(fundus: Fundus, sign: Sign) -> tuple[float, float]:
    """Return x and y of the sign's centre, above or below the macula."""
    x = fundus.macula_x - fundus.nasal * 0.06 + 0.14 * (sign.place[0] - 0.5)
    y = 0.5 + (0.17 + 0.06 * sign.place[1]) * (1 if sign.place[1] > 0.5 else -1) * ASPECT
    return x, y


def _glaucomatous_cupping(picture: np.ndarray, fundus: Fundus, rng: Rng, sign: Sign) -> Box:
    # The cup was drawn enlarged; it shows against the disc, so the box is the disc's.
    return box_of(_on_disc(fundus, DISC_R, edge=0.08))


def _retinal_hemorrhage(picture: np.ndarray, fundus: Fundus, rng: Rng, sign: Sign) -> Box:
    at_x, at_y = _beside_macula(fundus, sign)
    mask = np.zeros(SHAPE, np.float32)
    for _ in range(4 + round(4 * sign.extent)):
        blot_x, blot_y = at_x + rng.normal(0, 0.055), at_y + rng.normal(0, 0.055)
        mask = np.maximum(mask, blob(rng, SHAPE, blot_x, blot_y, rng.uniform(0.018, 0.034), 0.3, 0.3))
    mask *= fundus.field
    paint(picture, 0.95 * mask, (0.27, 0.02, 0.02))
    return box_of(mask)


def _hard_exudates(picture: np.ndarray, fundus: Fundus, rng: Rng, sign: Sign) -> Box:
    """Small yellow dots in a ring."""
    at_x, at_y = _beside_macula(fundus, sign)
    count = 34 + round(20 * sign.extent)
    angle = rng.uniform(0, 2 * np.pi, count)
    ring = 0.065 + 0.03 * sign.extent + rng.normal(0, 0.010, count)
    centres = np.stack([at_x + ring * np.cos(angle), at_y + ring * ASPECT * np.sin(angle)], axis=1)
    mask = discs(SHAPE, centres, rng.uniform(0.006, 0.011, count)) * fundus.field
    paint(picture, mask, (1.0, 0.93, 0.45))
    return box_of(mask)


def _cotton_wool_spots(picture: np.ndarray, fundus: Fundus, rng: Rng, sign: Sign) -> Box:
    at_x, at_y = _beside_macula(fundus, sign)
    mask = np.zeros(SHAPE, np.float32)
    for _ in range(2 + round(2 * sign.extent)):
        spot_x, spot_y = at_x + rng.normal(0, 0.07), at_y + rng.normal(0, 0.05)
        mask = np.maximum(mask, blob(rng, SHAPE, spot_x, spot_y, rng.uniform(0.034, 0.05), 0.3, 1.0))
    mask *= fundus.field
    paint(picture, 0.85 * mask, (0.97, 0.95, 0.90))
    return box_of(mask)


def _laser_scars(picture: np.ndarray, fundus: Fundus, rng: Rng, sign: Sign) -> None:
    """Pale spots with a dark rim, all around the periphery: no box says where."""
    count = 70 + round(40 * sign.extent)
    angle = rng.uniform(0, 2 * np.pi, count)
    ring = 0.30 + 0.11 * np.sqrt(rng.random(count))
    centres = np.stack([0.5 + ring * np.cos(angle), 0.5 + ring * ASPECT * np.sin(angle)], axis=1)
    paint(picture, 0.6 * discs(SHAPE, centres, np.full(count, 0.0175)) * fundus.field, (0.22, 0.10, 0.07))
    paint(picture, discs(SHAPE, centres, np.full(count, 0.0115)) * fundus.field, (0.90, 0.80, 0.55))


_FINDINGS: dict[str, Callable[[np.ndarray, Fundus, Rng, Sign], Box | None]] = {
    "retinal hemorrhage": _retinal_hemorrhage,
    "hard exudates": _hard_exudates,
    "glaucomatous cupping": _glaucomatous_cupping,
    "cotton wool spots": _cotton_wool_spots,
    "laser scars": _laser_scars,
}
"""By finding: (picture, fundus, rng, sign) paints the sign over the picture and returns its box, if any."""
