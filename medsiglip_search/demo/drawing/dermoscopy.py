"""Dermoscopy, drawn in RGB: one lesion on skin, or skin alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.drawing.canvas import (
    Box,
    Rng,
    blob,
    box_of,
    curve,
    discs,
    paint,
    smooth_noise,
    strokes,
)
from medsiglip_search.demo.findings import Sign

SHAPE = (240, 320)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a lesion is; lengths are 0..1 of the picture's sides.

    r: about its radius, 0..1 of the width.
    scatter: (200, 2) x, y around its centre, where its details go.
    """

    x: float
    y: float
    r: float
    scatter: np.ndarray


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (240, 320, 3) uint8 RGB and a box for each sign.

    Raises ValueError for a finding that dermoscopy cannot show.
    """
    picture = _normal_skin(anatomy, rng)

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding not in _FINDINGS:
            raise ValueError(f"dermoscopy cannot show {sign.finding}")
        boxes.append(_FINDINGS[sign.finding](picture, _site(rng, sign), rng))

    _paint_hairs(picture, rng)
    picture *= rng.uniform(0.92, 1.05)
    picture += 0.012 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture * 255, 0, 255).astype(np.uint8), boxes


def _normal_skin(anatomy: Rng, rng: Rng) -> np.ndarray:
    """Return (240, 320, 3) float32 in about 0..1: skin of the patient's tone, without hairs."""
    tone = anatomy.uniform(0.0, 1.0)
    fair, dark = np.array([0.90, 0.72, 0.60], np.float32), np.array([0.74, 0.52, 0.40], np.float32)
    picture = np.empty((*SHAPE, 3), np.float32)
    picture[:] = fair * (1 - tone) + dark * tone
    picture += (0.02 * smooth_noise(rng, SHAPE, 6) + 0.015 * smooth_noise(rng, SHAPE, 50))[..., None]
    return picture


def _paint_hairs(picture: np.ndarray, rng: Rng) -> None:
    hairs = []
    for _ in range(int(rng.integers(0, 6))):
        start, end = rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)
        bend = (start + end) / 2 + rng.normal(0, 0.1, 2)
        hairs.append((curve(start, bend, end, points=12), 0.004))
    if hairs:
        paint(picture, 0.8 * strokes(SHAPE, hairs), (0.16, 0.11, 0.08))


def _site(rng: Rng, sign: Sign) -> Site:
    r = 0.15 + 0.07 * sign.extent
    x = 0.5 + 0.16 * (sign.place[0] - 0.5) + rng.uniform(-0.02, 0.02)
    y = 0.5 + 0.16 * (sign.place[1] - 0.5) + rng.uniform(-0.02, 0.02)
    scatter = rng.normal(0, 0.45 * r, (200, 2)) * (1, SHAPE[1] / SHAPE[0]) + (x, y)
    return Site(x, y, r, scatter)


def _melanoma(picture: np.ndarray, site: Site, rng: Rng) -> Box:
    """An uneven dark patch with a blue-white veil and black dots."""
    mask = blob(rng, SHAPE, site.x, site.y, site.r, 0.6, 0.08)
    uneven = smooth_noise(rng, SHAPE, 9)[..., None]
    paint(picture, mask, np.array([0.26, 0.14, 0.10], np.float32) + 0.10 * uneven)
    veil_x = site.x + rng.uniform(-0.5, 0.5) * site.r
    veil_y = site.y + rng.uniform(-0.5, 0.5) * site.r
    veil = blob(rng, SHAPE, veil_x, veil_y, 0.5 * site.r, 0.4, 0.6)
    paint(picture, 0.8 * mask * veil, (0.42, 0.47, 0.60))
    paint(picture, 0.9 * mask * discs(SHAPE, site.scatter[:14], np.full(14, 0.012)), (0.05, 0.03, 0.03))
    return box_of(mask)


def _nevus(picture: np.ndarray, site: Site, rng: Rng) -> Box:
    mask = blob(rng, SHAPE, site.x, site.y, site.r * 0.85, 0.06, 0.3)
    paint(picture, 0.9 * mask, (0.52, 0.32, 0.20))
    paint(picture, 0.5 * blob(rng, SHAPE, site.x, site.y, site.r * 0.45, 0.06, 1.0), (0.38, 0.22, 0.13))
    return box_of(mask)


def _seborrheic_keratosis(picture: np.ndarray, site: Site, rng: Rng) -> Box:
    """A waxy patch with pale milia-like cysts and dark comedo-like openings."""
    mask = blob(rng, SHAPE, site.x, site.y, site.r, 0.15, 0.04)
    paint(picture, mask, (0.60, 0.47, 0.31))
    paint(picture, mask * discs(SHAPE, site.scatter[:26], np.full(26, 0.009)), (0.97, 0.93, 0.80))
    paint(picture, mask * discs(SHAPE, site.scatter[26:44], np.full(18, 0.009)), (0.30, 0.19, 0.11))
    return box_of(mask)


def _basal_cell_carcinoma(picture: np.ndarray, site: Site, rng: Rng) -> Box:
    """A pearly patch with vessels that run in from its edge."""
    mask = blob(rng, SHAPE, site.x, site.y, site.r, 0.2, 0.35)
    paint(picture, 0.8 * mask, (0.93, 0.66, 0.66))
    t = np.linspace(1.0, 0.15, 10)
    vessels = []
    for _ in range(7):
        angle = rng.uniform(0, 2 * np.pi) + 0.5 * np.sin(4 * t + rng.uniform(0, 6))
        x = site.x + site.r * t * np.cos(angle)
        y = site.y + site.r * 1.33 * t * np.sin(angle)
        vessels.append((np.stack([x, y], axis=1), rng.uniform(0.008, 0.013)))
    paint(picture, 0.9 * strokes(SHAPE, vessels), (0.78, 0.10, 0.14))
    return box_of(mask)


def _hemangioma(picture: np.ndarray, site: Site, rng: Rng) -> Box:
    """A red patch with darker lacunae."""
    mask = blob(rng, SHAPE, site.x, site.y, site.r * 0.8, 0.12, 0.1)
    paint(picture, 0.9 * mask, (0.74, 0.22, 0.25))
    for x, y in site.scatter[:9]:
        lacuna = blob(rng, SHAPE, x, y, 0.26 * site.r, 0.1, 0.2)
        paint(picture, 0.9 * mask * lacuna, (0.50, 0.03, 0.10))
    return box_of(mask)


_FINDINGS: dict[str, Callable[[np.ndarray, Site, Rng], Box]] = {
    "melanoma": _melanoma,
    "nevus": _nevus,
    "seborrheic keratosis": _seborrheic_keratosis,
    "basal cell carcinoma": _basal_cell_carcinoma,
    "hemangioma": _hemangioma,
}
"""By finding: (picture, site, rng) paints the lesion over the skin and returns its box."""
