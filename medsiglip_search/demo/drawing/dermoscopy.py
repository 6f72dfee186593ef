"""Dermoscopy, drawn in RGB: one lesion on skin, or skin alone."""

from collections.abc import Sequence

import numpy as np

from medsiglip_search.demo.drawing.canvas import Box, Rng, blob, box_of, discs, paint, smooth_noise, strokes
from medsiglip_search.demo.findings import Sign


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (240, 320, 3) uint8 RGB and a box for each sign."""
    shape = (240, 320)
    tone = anatomy.uniform(0.0, 1.0)
    skin = (
        np.array([0.90, 0.72, 0.60], np.float32) * (1 - tone)
        + np.array([0.74, 0.52, 0.40], np.float32) * tone
    )
    picture = np.empty((*shape, 3), np.float32)
    picture[:] = skin
    picture += (0.02 * smooth_noise(rng, shape, 6) + 0.015 * smooth_noise(rng, shape, 50))[..., None]

    boxes: list[Box | None] = []
    for sign in signs:
        r = 0.15 + 0.07 * sign.extent
        at_x = 0.5 + 0.16 * (sign.place[0] - 0.5) + rng.uniform(-0.02, 0.02)
        at_y = 0.5 + 0.16 * (sign.place[1] - 0.5) + rng.uniform(-0.02, 0.02)
        scatter = rng.normal(0, 0.45 * r, (200, 2)) * (1, 320 / 240) + (at_x, at_y)
        if sign.finding == "melanoma":
            mask = blob(rng, shape, at_x, at_y, r, 0.6, 0.08)
            uneven = smooth_noise(rng, shape, 9)[..., None]
            paint(picture, mask, np.array([0.26, 0.14, 0.10], np.float32) + 0.10 * uneven)
            veil_x, veil_y = at_x + rng.uniform(-0.5, 0.5) * r, at_y + rng.uniform(-0.5, 0.5) * r
            paint(
                picture, 0.8 * mask * blob(rng, shape, veil_x, veil_y, 0.5 * r, 0.4, 0.6), (0.42, 0.47, 0.60)
            )
            paint(picture, 0.9 * mask * discs(shape, scatter[:14], np.full(14, 0.012)), (0.05, 0.03, 0.03))
        elif sign.finding == "nevus":
            mask = blob(rng, shape, at_x, at_y, r * 0.85, 0.06, 0.3)
            paint(picture, 0.9 * mask, np.array([0.52, 0.32, 0.20], np.float32))
            paint(picture, 0.5 * blob(rng, shape, at_x, at_y, r * 0.45, 0.06, 1.0), (0.38, 0.22, 0.13))
        elif sign.finding == "seborrheic keratosis":
            mask = blob(rng, shape, at_x, at_y, r, 0.15, 0.04)
            paint(picture, mask, (0.60, 0.47, 0.31))
            paint(picture, mask * discs(shape, scatter[:26], np.full(26, 0.009)), (0.97, 0.93, 0.80))
            paint(picture, mask * discs(shape, scatter[26:44], np.full(18, 0.009)), (0.30, 0.19, 0.11))
        elif sign.finding == "basal cell carcinoma":
            mask = blob(rng, shape, at_x, at_y, r, 0.2, 0.35)
            paint(picture, 0.8 * mask, (0.93, 0.66, 0.66))
            vessels = []
            for _ in range(7):
                start = rng.uniform(0, 2 * np.pi)
                t = np.linspace(1.0, 0.15, 10)
                wave = start + 0.5 * np.sin(4 * t + rng.uniform(0, 6))
                points = np.stack([at_x + r * t * np.cos(wave), at_y + r * 1.33 * t * np.sin(wave)], axis=1)
                vessels.append((points, rng.uniform(0.008, 0.013)))
            paint(picture, 0.9 * strokes(shape, vessels), (0.78, 0.10, 0.14))
        elif sign.finding == "hemangioma":
            mask = blob(rng, shape, at_x, at_y, r * 0.8, 0.12, 0.1)
            paint(picture, 0.9 * mask, (0.74, 0.22, 0.25))
            for spot_x, spot_y in scatter[:9]:
                paint(
                    picture,
                    0.9 * mask * blob(rng, shape, spot_x, spot_y, 0.26 * r, 0.1, 0.2),
                    (0.50, 0.03, 0.10),
                )
        else:
            raise ValueError(f"dermoscopy cannot show {sign.finding}")
        boxes.append(box_of(mask))

    hairs = []
    for _ in range(int(rng.integers(0, 6))):
        start, end = rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)
        bend = (start + end) / 2 + rng.normal(0, 0.1, 2)
        t = np.linspace(0, 1, 12)[:, None]
        hairs.append(((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end, 0.004))
    if hairs:
        paint(picture, 0.8 * strokes(shape, hairs), (0.16, 0.11, 0.08))
    picture *= rng.uniform(0.92, 1.05)
    picture += 0.012 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture * 255, 0, 255).astype(np.uint8), boxes
