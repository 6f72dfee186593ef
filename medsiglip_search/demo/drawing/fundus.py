"""Fundus photographs, drawn in RGB."""

from collections.abc import Sequence

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


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (288, 320, 3) uint8 RGB and a box for each sign."""
    shape = (288, 320)
    aspect = shape[1] / shape[0]
    nasal = 1 if rng.random() < 0.5 else -1
    field = radius(shape, 0.5, 0.5, 0.44, 0.44 * aspect)
    tone = anatomy.uniform(0.85, 1.1)
    picture = np.zeros((*shape, 3), np.float32)
    shade = np.clip(1.08 - 0.35 * field**2, 0, 1.1)[..., None] * tone
    retina = np.array([0.72, 0.33, 0.15], np.float32) * shade
    retina += 0.02 * smooth_noise(rng, shape, 14)[..., None]
    paint(picture, soft(field, 0.02), retina)
    inside = soft(field, 0.05)

    disc_x, disc_y = 0.5 + nasal * anatomy.uniform(0.20, 0.235), 0.5 + rng.uniform(-0.02, 0.02)
    macula_x = 0.5 - nasal * 0.10
    paint(picture, 0.35 * ellipse(shape, macula_x, 0.51, 0.09, 0.09 * aspect, edge=1.2), (0.42, 0.15, 0.06))
    vessels = []
    for vertical in (-1, 1):
        for spread, width in ((0.16, 0.013), (0.28, 0.011), (0.34, 0.008)):
            t = np.linspace(0, 1, 20)
            reach = rng.uniform(0.55, 0.75) if spread > 0.2 else rng.uniform(0.3, 0.45)
            px = disc_x - nasal * reach * t + nasal * 0.15 * np.sin(t * 3) * (spread < 0.2)
            py = disc_y + vertical * (
                spread * 1.25 * np.sin(t * 2.2) + 0.012 * np.sin(t * 11 + rng.uniform(0, 6))
            )
            vessels.append((np.stack([px, py], axis=1), width))
    paint(picture, 0.75 * strokes(shape, vessels) * inside, (0.40, 0.09, 0.05))
    disc_r = 0.062
    paint(
        picture, ellipse(shape, disc_x, disc_y, disc_r, disc_r * aspect * 1.08, edge=0.2), (0.93, 0.72, 0.42)
    )
    grow = next((sign.extent for sign in signs if sign.finding == "glaucomatous cupping"), None)
    cup_r = disc_r * (anatomy.uniform(0.25, 0.38) if grow is None else 0.80 + 0.10 * grow)
    cup = ellipse(shape, disc_x, disc_y, cup_r, cup_r * aspect * 1.08, edge=0.25)
    paint(picture, cup, (1.0, 0.97, 0.88))

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding == "glaucomatous cupping":
            boxes.append(box_of(ellipse(shape, disc_x, disc_y, disc_r, disc_r * aspect * 1.08)))
            continue
        at_x = macula_x - nasal * 0.06 + 0.14 * (sign.place[0] - 0.5)
        at_y = 0.5 + (0.17 + 0.06 * sign.place[1]) * (1 if sign.place[1] > 0.5 else -1) * aspect
        if sign.finding == "retinal hemorrhage":
            mask = np.zeros(shape, np.float32)
            for _ in range(4 + round(4 * sign.extent)):
                spot_x, spot_y = at_x + rng.normal(0, 0.055), at_y + rng.normal(0, 0.055)
                mask = np.maximum(mask, blob(rng, shape, spot_x, spot_y, rng.uniform(0.018, 0.034), 0.3, 0.3))
            mask *= inside
            paint(picture, 0.95 * mask, (0.27, 0.02, 0.02))
        elif sign.finding == "hard exudates":
            count = 34 + round(20 * sign.extent)
            angle = rng.uniform(0, 2 * np.pi, count)
            ring = 0.065 + 0.03 * sign.extent + rng.normal(0, 0.010, count)
            centres = np.stack([at_x + ring * np.cos(angle), at_y + ring * aspect * np.sin(angle)], axis=1)
            mask = discs(shape, centres, rng.uniform(0.006, 0.011, count)) * inside
            paint(picture, mask, (1.0, 0.93, 0.45))
        elif sign.finding == "cotton wool spots":
            mask = np.zeros(shape, np.float32)
            for _ in range(2 + round(2 * sign.extent)):
                spot_x, spot_y = at_x + rng.normal(0, 0.07), at_y + rng.normal(0, 0.05)
                mask = np.maximum(mask, blob(rng, shape, spot_x, spot_y, rng.uniform(0.034, 0.05), 0.3, 1.0))
            mask *= inside
            paint(picture, 0.85 * mask, (0.97, 0.95, 0.90))
        elif sign.finding == "laser scars":
            count = 70 + round(40 * sign.extent)
            angle = rng.uniform(0, 2 * np.pi, count)
            ring = 0.30 + 0.11 * np.sqrt(rng.random(count))
            centres = np.stack([0.5 + ring * np.cos(angle), 0.5 + ring * aspect * np.sin(angle)], axis=1)
            paint(picture, 0.6 * discs(shape, centres, np.full(count, 0.0175)) * inside, (0.22, 0.10, 0.07))
            mask = discs(shape, centres, np.full(count, 0.0115)) * inside
            paint(picture, mask, (0.90, 0.80, 0.55))
            boxes.append(None)  # All around the periphery: no box says where.
            continue
        else:
            raise ValueError(f"a fundus photograph cannot show {sign.finding}")
        boxes.append(box_of(mask))

    picture += 0.012 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture * 255, 0, 255).astype(np.uint8), boxes
