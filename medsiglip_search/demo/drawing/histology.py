"""Histology tiles, drawn in the colours of haematoxylin and eosin."""

from collections.abc import Sequence

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

NUCLEUS = (0.36, 0.22, 0.52)
DARK_NUCLEUS = (0.22, 0.10, 0.40)


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (256, 256, 3) uint8 RGB and a box for each sign."""
    shape = (256, 256)
    y, x = grid(shape)
    stain = anatomy.uniform(0.92, 1.06)
    picture = np.empty((*shape, 3), np.float32)
    picture[:] = np.array([0.93, 0.76, 0.84], np.float32)
    picture += 0.02 * smooth_noise(rng, shape, 20)[..., None]
    for _ in range(4):
        cx, cy = rng.uniform(0.08, 0.92, 2)
        r = rng.uniform(0.07, 0.10)
        paint(picture, 0.9 * ellipse(shape, cx, cy, r, r * 0.9, edge=0.15), (0.80, 0.58, 0.76))
        paint(picture, ellipse(shape, cx, cy, r * 0.45, r * 0.40, edge=0.3), (0.97, 0.94, 0.96))
        angle = np.arange(0, 2 * np.pi, 0.42)
        ring = np.stack([cx + 0.8 * r * np.cos(angle), cy + 0.72 * r * np.sin(angle)], axis=1)
        paint(picture, 0.9 * discs(shape, ring, np.full(len(ring), 0.011)), NUCLEUS)
    scattered = rng.uniform(0, 1, (36, 2))
    paint(picture, 0.8 * discs(shape, scattered, rng.uniform(0.007, 0.011, 36)), NUCLEUS)

    boxes: list[Box | None] = []
    for sign in signs:
        r = 0.23 + 0.09 * sign.extent
        at_x, at_y = 0.28 + 0.44 * sign.place[0], 0.28 + 0.44 * sign.place[1]
        mask = blob(rng, shape, at_x, at_y, r, 0.2, 0.1)
        if sign.finding == "carcinoma":
            paint(picture, 0.85 * mask, (0.78, 0.52, 0.72))
            paint(
                picture, 0.95 * mask * discs(shape, *_packed(rng, 0.046, 0.012, (0.016, 0.026))), DARK_NUCLEUS
            )
        elif sign.finding == "necrosis":
            paint(
                picture,
                0.95 * mask,
                np.array([0.88, 0.55, 0.62]) + 0.07 * smooth_noise(rng, shape, 40)[..., None],
            )
            debris = rng.uniform(0, 1, (110, 2))
            paint(picture, 0.6 * mask * discs(shape, debris, np.full(110, 0.004)), (0.35, 0.18, 0.35))
        elif sign.finding == "lymphocytic infiltrate":
            paint(
                picture,
                0.95 * mask * discs(shape, *_packed(rng, 0.026, 0.007, (0.0085, 0.0105))),
                (0.24, 0.16, 0.50),
            )
        elif sign.finding == "mucin pool":
            paint(
                picture,
                0.95 * mask,
                np.array([0.80, 0.86, 0.95]) + 0.02 * smooth_noise(rng, shape, 10)[..., None],
            )
            islands = rng.uniform(0, 1, (5, 2))
            paint(picture, mask * discs(shape, islands, np.full(5, 0.022)), NUCLEUS)
        elif sign.finding == "fibrosis":
            direction = rng.uniform(0, np.pi)
            along = x * np.cos(direction) + y * np.sin(direction)
            wave = 0.5 + 0.5 * np.sin(2 * np.pi * (along * 17 + 0.35 * smooth_noise(rng, shape, 6)))
            paint(picture, 0.95 * mask, np.array([0.95, 0.62, 0.74]) + 0.16 * (wave - 0.6)[..., None])
        else:
            raise ValueError(f"a histology tile cannot show {sign.finding}")
        boxes.append(box_of(mask))

    picture = 1 - (1 - picture) * stain
    picture += 0.012 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture * 255, 0, 255).astype(np.uint8), boxes


def _packed(
    rng: Rng, pitch: float, jitter: float, radii: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (N, 2) on a shaken grid of that pitch, and radii (N,)."""
    ticks = np.arange(pitch / 2, 1, pitch)
    centres = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    return centres + rng.normal(0, jitter, centres.shape), rng.uniform(*radii, len(centres))
