"""Frontal chest radiographs, drawn as 12-bit values; bone is high."""

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
    strokes,
)
from medsiglip_search.demo.findings import Sign

MAX_VALUE = 4095


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (rows, columns) uint16 in 0..4095 and a box for each sign.

    anatomy: draws what stays the same in all pictures of a patient; rng: what differs.
    """
    shape = (int(anatomy.integers(288, 337)), int(anatomy.integers(264, 321)))
    y, x = grid(shape)
    wide = anatomy.uniform(0.92, 1.06)
    lung_rx, lung_ry = 0.165 * wide, anatomy.uniform(0.31, 0.35)
    middle = 0.5 + rng.uniform(-0.02, 0.02)
    top = 0.46 + rng.uniform(-0.02, 0.02)
    # The patient faces the reader: the right lung is on the left of the picture.
    centre = {"right": middle - 0.205 * wide, "left": middle + 0.205 * wide}
    tissue = anatomy.uniform(0.50, 0.58)

    picture = np.full(shape, 0.03, np.float32)
    paint(picture, ellipse(shape, middle, 0.62, 0.47 * wide, 0.66, edge=0.04), tissue)
    paint(picture, ellipse(shape, middle, 0.02, 0.11, 0.20, edge=0.2), tissue + 0.08)
    lungs = {}
    for side, cx in centre.items():
        level = radius(shape, cx, top, lung_rx, lung_ry)
        base = top + lung_ry * (0.72 if side == "right" else 0.78)
        dome = base + 1.6 * (x - cx) ** 2
        lungs[side] = soft(level, 0.1) * np.clip((dome - y) / 0.02, 0, 1)
        paint(picture, lungs[side], anatomy.uniform(0.16, 0.22))
    both = np.maximum(lungs["left"], lungs["right"])

    paint(picture, ellipse(shape, middle, 0.5, 0.05, 0.6, edge=0.3) * 0.8, 0.72)
    big_heart = any(sign.finding == "cardiomegaly" for sign in signs)
    grow = next((sign.extent for sign in signs if sign.finding == "cardiomegaly"), 0.0)
    heart_rx = 0.225 + 0.04 * grow if big_heart else anatomy.uniform(0.115, 0.14)
    heart = ellipse(
        shape, middle + 0.3 * heart_rx, top + 0.17, heart_rx, 0.13 + 0.25 * (heart_rx - 0.12), -0.25, 0.1
    )
    paint(picture, heart, 0.70)
    ribs = np.zeros(shape, np.float32)
    for index in range(8):
        height = top - 0.30 + 0.085 * index
        arc = np.abs(y - height - 0.9 * (np.abs(x - middle) - 0.2) ** 2 - 0.25 * np.abs(x - middle))
        ribs = np.maximum(ribs, np.clip(1.6 - arc / 0.008, 0, 1))
    picture += 0.055 * ribs * np.maximum(both, 0.3 * (picture > 0.3))
    for cx, slope in ((middle - 0.2, 0.22), (middle + 0.2, -0.22)):
        clavicle = np.abs(y - (top - 0.27) - slope * (x - cx)) / 0.011 + 8 * np.clip(
            np.abs(x - cx) - 0.13, 0, 1
        )
        picture += 0.16 * np.clip(1.5 - clavicle, 0, 1)
    for cx in centre.values():
        inner = cx + (0.11 if cx < middle else -0.11)
        paint(picture, 0.35 * ellipse(shape, inner, top + 0.02, 0.035, 0.06, edge=0.9), 0.6)

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding == "cardiomegaly":
            boxes.append(box_of(heart))
            continue
        if sign.finding == "hilar enlargement":
            mask = np.zeros(shape, np.float32)
            for direction in (-1, 1):
                for _ in range(3):
                    r = 0.030 + 0.018 * sign.extent
                    cx = middle + direction * rng.uniform(0.085, 0.125)
                    mask = np.maximum(mask, blob(rng, shape, cx, top + rng.uniform(-0.07, 0.05), r, 0.2, 0.3))
            paint(picture, mask * 0.9, 0.78)
            boxes.append(box_of(mask))
            continue
        assert sign.side is not None
        lung, cx = lungs[sign.side], centre[sign.side]
        outward = -1 if sign.side == "right" else 1
        if sign.finding == "pleural effusion":
            level = top + lung_ry * (0.45 - 0.40 * sign.extent)
            meniscus = level - 0.55 * np.clip(outward * (x - cx) + 0.02, 0, None) + rng.uniform(-0.01, 0.01)
            mask = soft(radius(shape, cx, top, lung_rx, lung_ry), 0.1) * np.clip((y - meniscus) / 0.03, 0, 1)
            paint(picture, mask * 0.95, 0.74)
        elif sign.finding == "pneumothorax":
            shift = 0.045 + 0.055 * sign.extent
            inner = radius(shape, cx - outward * shift, top + 0.8 * shift, lung_rx * 0.95, lung_ry * 0.97)
            mask = lung * (1 - soft(inner, 0.06)) * (outward * (x - cx) > -0.06)
            paint(picture, mask, 0.04)
            paint(
                picture,
                lung * np.clip(1.4 - np.abs(inner - 1) / 0.035, 0, 1) * (outward * (x - cx) > -0.06),
                0.62,
            )
        elif sign.finding == "consolidation":
            r = 0.065 + 0.045 * sign.extent
            at_x = cx + outward * (0.05 * sign.place[0] - 0.02)
            at_y = top + lung_ry * (-0.45 + 0.85 * sign.place[1])
            patchy = np.clip(0.85 + 0.25 * smooth_noise(rng, shape, 22), 0.35, 1)
            mask = blob(rng, shape, at_x, at_y, r, 0.35, 0.5) * lung
            paint(picture, mask * patchy * 0.85, 0.66)
        elif sign.finding == "pulmonary nodule":
            r = 0.030 + 0.018 * sign.extent
            at_x = cx + outward * (0.09 * sign.place[0] - 0.02)
            at_y = top + lung_ry * (-0.55 + 1.0 * sign.place[1])
            mask = blob(rng, shape, at_x, at_y, r, 0.08, 0.25)
            paint(picture, mask * 0.95, 0.80)
        elif sign.finding == "pacemaker":
            at_x, at_y = cx + outward * 0.03 * sign.place[0], top - 0.20 + 0.05 * sign.place[1]
            half = 0.045 + 0.012 * sign.extent
            level = np.maximum(np.abs(x - at_x) / half, np.abs(y - at_y) / (half * 0.8))
            mask = soft(level, 0.1)
            t = np.linspace(0, 1, 24)
            end_x, end_y = middle + 0.06, top + 0.2
            bend_x, bend_y = middle - 0.01, top - 0.2
            lead = np.stack(
                [
                    (1 - t) ** 2 * at_x + 2 * t * (1 - t) * bend_x + t**2 * end_x,
                    (1 - t) ** 2 * at_y + 2 * t * (1 - t) * bend_y + t**2 * end_y,
                ],
                axis=1,
            )
            paint(picture, strokes(shape, [(lead, 0.010)]), 0.97)
            paint(picture, mask, 0.99)
        else:
            raise ValueError(f"a chest radiograph cannot show {sign.finding}")
        boxes.append(box_of(mask))

    picture += 0.010 * smooth_noise(rng, shape, 12) + 0.014 * rng.standard_normal(shape, dtype=np.float32)
    exposure = rng.uniform(0.92, 1.06)
    return np.clip(picture * exposure * 3600 + 200, 0, MAX_VALUE).astype(np.uint16), boxes
