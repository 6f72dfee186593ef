"""Axial head CT slices, drawn in Hounsfield units."""

from collections.abc import Sequence

import numpy as np

from medsiglip_search.demo.drawing.canvas import (
    Box,
    Rng,
    blob,
    box_of,
    ellipse,
    grid,
    paint,
    radius,
    smooth_noise,
    soft,
)
from medsiglip_search.demo.findings import Sign

AIR, FLUID, BRAIN, BONE = -1000.0, 6.0, 35.0, 960.0  # HU


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (256, 256) int16 Hounsfield units and a box for each sign."""
    shape = (256, 256)
    y, x = grid(shape)
    cx, cy = 0.5 + rng.uniform(-0.015, 0.015), 0.5 + rng.uniform(-0.015, 0.015)
    rx, ry = anatomy.uniform(0.335, 0.365), anatomy.uniform(0.405, 0.435)
    tilt = anatomy.uniform(-0.05, 0.05)
    thickness = anatomy.uniform(0.050, 0.060)

    picture = np.full(shape, AIR, np.float32)
    paint(picture, ellipse(shape, cx, cy, rx + 0.025, ry + 0.025, tilt, 0.02), 25.0)
    outer = ellipse(shape, cx, cy, rx, ry, tilt, 0.03)
    paint(picture, outer, BONE)
    inside_level = radius(shape, cx, cy, rx - thickness, ry - thickness, tilt)
    inside = soft(inside_level, 0.03)
    brain = BRAIN + 2.5 * smooth_noise(rng, shape, 10)
    paint(picture, inside, brain)
    # Grey matter is a little denser than white matter.
    paint(picture, inside * np.clip((inside_level - 0.82) / 0.06, 0, 1) * 0.8, BRAIN + 6)
    picture += 12 * inside * np.clip(1 - np.abs(x - cx - np.tan(tilt) * (cy - y)) / 0.006, 0, 1)

    grow = next((sign.extent for sign in signs if sign.finding == "hydrocephalus"), None)
    scale = anatomy.uniform(0.85, 1.05) if grow is None else 1.75 + 0.35 * grow
    ventricles = np.zeros(shape, np.float32)
    for direction in (-1, 1):
        for dy, length in ((-0.075, 0.075), (0.085, 0.085)):
            ventricle = ellipse(
                shape,
                cx + direction * 0.042 * scale,
                cy + dy * scale**0.5,
                0.024 * scale,
                length * scale**0.6,
                (-0.35 if dy < 0 else 0.35) * direction,
                0.2,
            )
            ventricles = np.maximum(ventricles, ventricle)
    paint(picture, ventricles, FLUID)

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding == "hydrocephalus":
            boxes.append(box_of(ventricles))
            continue
        assert sign.side is not None
        # Seen from the feet: the patient's right is on the left of the picture.
        outward = -1 if sign.side == "right" else 1
        at_y = cy + 0.24 * (sign.place[1] - 0.5) * 1.6
        if sign.finding == "intracerebral hemorrhage":
            r = 0.050 + 0.040 * sign.extent
            at_x = cx + outward * (0.13 + 0.05 * sign.place[0])
            mask = blob(rng, shape, at_x, at_y, r, 0.25, 0.2)
            halo = blob(rng, shape, at_x, at_y, r * 1.45, 0.15, 0.4)
            paint(picture, halo * inside * (1 - mask), 22.0)
            paint(picture, mask * inside, rng.uniform(64, 74))
        elif sign.finding == "infarct":
            half = 0.45 + 0.30 * sign.extent
            direction = (sign.place[1] - 0.5) * 1.2
            angle = np.arctan2(y - cy, outward * (x - cx))
            wedge = soft(np.abs(angle - direction) / half, 0.2) * np.clip((inside_level - 0.42) / 0.05, 0, 1)
            mask = wedge * inside
            paint(picture, mask * 0.95, 17.0 + 2 * smooth_noise(rng, shape, 16))
        elif sign.finding == "subdural hematoma":
            shift = 0.050 + 0.035 * sign.extent
            brain_edge = radius(
                shape, cx - outward * shift, cy, rx - thickness, (ry - thickness) * 1.04, tilt
            )
            mask = inside * (1 - soft(brain_edge, 0.04)) * (outward * (x - cx) > 0.12)
            paint(picture, mask, rng.uniform(60, 70))
        elif sign.finding == "lytic skull lesion":
            half = 0.22 + 0.14 * sign.extent
            direction = (sign.place[1] - 0.5) * 1.3
            angle = np.arctan2(y - cy, outward * (x - cx))
            mask = soft(np.abs(angle - direction) / half, 0.25) * outer * (1 - inside)
            # Still above the soft tissue window, so that the wide window alone shows it.
            paint(picture, mask, rng.uniform(290, 370))
        else:
            raise ValueError(f"a head CT cannot show {sign.finding}")
        boxes.append(box_of(mask))

    picture += 3.0 * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(np.rint(picture), -1024, 3071).astype(np.int16), boxes
