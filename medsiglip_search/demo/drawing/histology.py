"""Histology tiles, drawn in the colours of haematoxylin and eosin."""

from collections.abc import Callable, Sequence

import numpy as np

from medsiglip_search.demo.drawing.canvas import (
    Box,
    Rng,
    blob,
    box_of,
    discs,
    ellipse,
    grid,
    paint,
    smooth_noise,
)
from medsiglip_search.demo.findings import Sign

SHAPE = (256, 256)
NUCLEUS = (0.36, 0.22, 0.52)
DARK_NUCLEUS = (0.22, 0.10, 0.40)


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (256, 256, 3) uint8 RGB and a box for each sign.

    Raises ValueError for a finding that a histology tile cannot show.
    """
    stain = anatomy.uniform(0.92, 1.06)
    picture = _normal_tissue(rng)

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding not in _FINDINGS:
            raise ValueError(f"a histology tile cannot show {sign.finding}")
        region = _region(rng, sign)
        _FINDINGS[sign.finding](picture, region, rng)
        boxes.append(box_of(region))

    picture = 1 - (1 - picture) * stain
    picture += 0.012 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture * 255, 0, 255).astype(np.uint8), boxes


def _normal_tissue(rng: Rng) -> np.ndarray:
    """Return (256, 256, 3) float32 in about 0..1: stroma with four glands and scattered nuclei."""
    picture = np.empty((*SHAPE, 3), np.float32)
    picture[:] = np.array([0.93, 0.76, 0.84], np.float32)
    picture += 0.02 * smooth_noise(rng, SHAPE, 20)[..., None]
    for _ in range(4):
        _paint_gland(picture, rng)
    scattered = rng.uniform(0, 1, (36, 2))
    paint(picture, 0.8 * discs(SHAPE, scattered, rng.uniform(0.007, 0.011, 36)), NUCLEUS)
    return picture


def _paint_gland(picture: np.ndarray, rng: Rng) -> None:
    """Epithelium around an empty lumen, with a ring of nuclei at its base."""
    cx, cy = rng.uniform(0.08, 0.92, 2)
    r = rng.uniform(0.07, 0.10)
    paint(picture, 0.9 * ellipse(SHAPE, cx, cy, r, r * 0.9, edge=0.15), (0.80, 0.58, 0.76))
    paint(picture, ellipse(SHAPE, cx, cy, r * 0.45, r * 0.40, edge=0.3), (0.97, 0.94, 0.96))
    angle = np.arange(0, 2 * np.pi, 0.42)
    ring = np.stack([cx + 0.8 * r * np.cos(angle), cy + 0.72 * r * np.sin(angle)], axis=1)
    paint(picture, 0.9 * discs(SHAPE, ring, np.full(len(ring), 0.011)), NUCLEUS)


def _region(rng: Rng, sign: Sign) -> np.ndarray:
    """Return the mask of the tissue that the sign replaces."""
    r = 0.23 + 0.09 * sign.extent
    at_x, at_y = 0.28 + 0.44 * sign.place[0], 0.28 + 0.44 * sign.place[1]
    return blob(rng, SHAPE, at_x, at_y, r, 0.2, 0.1)


def _carcinoma(picture: np.ndarray, region: np.ndarray, rng: Rng) -> None:
    """Crowded nuclei, large, dark and of uneven size."""
    paint(picture, 0.85 * region, (0.78, 0.52, 0.72))
    nuclei = discs(SHAPE, *_packed(rng, 0.046, 0.012, (0.016, 0.026)))
    paint(picture, 0.95 * region * nuclei, DARK_NUCLEUS)


def _necrosis(picture: np.ndarray, region: np.ndarray, rng: Rng) -> None:
    """Tissue without nuclei, dusted with debris."""
    grain = smooth_noise(rng, SHAPE, 40)[..., None]
    paint(picture, 0.95 * region, np.array([0.88, 0.55, 0.62]) + 0.07 * grain)
    debris = rng.uniform(0, 1, (110, 2))
    paint(picture, 0.6 * region * discs(SHAPE, debris, np.full(110, 0.004)), (0.35, 0.18, 0.35))


def _lymphocytic_infiltrate(picture: np.ndarray, region: np.ndarray, rng: Rng) -> None:
    """Small round nuclei side by side."""
    nuclei = discs(SHAPE, *_packed(rng, 0.026, 0.007, (0.0085, 0.0105)))
    paint(picture, 0.95 * region * nuclei, (0.24, 0.16, 0.50))


def _mucin_pool(picture: np.ndarray, region: np.ndarray, rng: Rng) -> None:
    """Pale blue mucin in which a few cells float."""
    grain = smooth_noise(rng, SHAPE, 10)[..., None]
    paint(picture, 0.95 * region, np.array([0.80, 0.86, 0.95]) + 0.02 * grain)
    cells = rng.uniform(0, 1, (5, 2))
    paint(picture, region * discs(SHAPE, cells, np.full(5, 0.022)), NUCLEUS)


def _fibrosis(picture: np.ndarray, region: np.ndarray, rng: Rng) -> None:
    """Wavy parallel bands of collagen."""
    y, x = grid(SHAPE)
    direction = rng.uniform(0, np.pi)
    along = x * np.cos(direction) + y * np.sin(direction)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (along * 17 + 0.35 * smooth_noise(rng, SHAPE, 6)))
    paint(picture, 0.95 * region, np.array([0.95, 0.62, 0.74]) + 0.16 * (wave - 0.6)[..., None])


def _packed(
    rng: Rng, pitch: float, jitter: float, radii: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (N, 2) on a shaken grid of that pitch, and radii (N,)."""
    ticks = np.arange(pitch / 2, 1, pitch)
    centres = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    return centres + rng.normal(0, jitter, centres.shape), rng.uniform(*radii, len(centres))


_FINDINGS: dict[str, Callable[[np.ndarray, np.ndarray, Rng], None]] = {
    "carcinoma": _carcinoma,
    "necrosis": _necrosis,
    "lymphocytic infiltrate": _lymphocytic_infiltrate,
    "mucin pool": _mucin_pool,
    "fibrosis": _fibrosis,
}
"""By finding: (picture, region, rng) paints the finding over the picture where the region's mask is 1."""
