"""Axial head CT slices, drawn in Hounsfield units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

SHAPE = (256, 256)
AIR, FLUID, BRAIN, BONE = -1000.0, 6.0, 35.0, 960.0  # HU


@dataclass(frozen=True, slots=True)
class Head:
    """What the findings need to know of the anatomy; lengths are 0..1 of the picture's sides.

    rx, ry: half axes of the cranial cavity, the space inside the skull. tilt: of the head, in radians.
    level: 0 at the cavity's centre, 1 at the inner side of the skull.
    cavity: mask of that space; skull: mask of bone and cavity; ventricles: mask.
    """

    centre_x: float
    centre_y: float
    rx: float
    ry: float
    tilt: float
    level: np.ndarray
    cavity: np.ndarray
    skull: np.ndarray
    ventricles: np.ndarray


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (256, 256) int16 Hounsfield units and a box for each sign.

    Raises ValueError for a finding that a head CT cannot show.
    """
    hydrocephalus = next((sign.extent for sign in signs if sign.finding == "hydrocephalus"), None)
    picture, head = _normal_head(anatomy, rng, hydrocephalus)

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding not in _FINDINGS:
            raise ValueError(f"a head CT cannot show {sign.finding}")
        boxes.append(_FINDINGS[sign.finding](picture, head, rng, sign))

    picture += 3.0 * rng.standard_normal(SHAPE, dtype=np.float32)
    return np.clip(np.rint(picture), -1024, 3071).astype(np.int16), boxes


def _normal_head(anatomy: Rng, rng: Rng, hydrocephalus: float | None) -> tuple[np.ndarray, Head]:
    """Return the picture, (256, 256) float32 HU, and where things are in it.

    hydrocephalus: its extent; None for ventricles of normal size.
    """
    y, x = grid(SHAPE)
    cx, cy = 0.5 + rng.uniform(-0.015, 0.015), 0.5 + rng.uniform(-0.015, 0.015)
    skull_rx, skull_ry = anatomy.uniform(0.335, 0.365), anatomy.uniform(0.405, 0.435)
    tilt = anatomy.uniform(-0.05, 0.05)
    thickness = anatomy.uniform(0.050, 0.060)
    rx, ry = skull_rx - thickness, skull_ry - thickness

    picture = np.full(SHAPE, AIR, np.float32)
    paint(picture, ellipse(SHAPE, cx, cy, skull_rx + 0.025, skull_ry + 0.025, tilt, 0.02), 25.0)
    skull = ellipse(SHAPE, cx, cy, skull_rx, skull_ry, tilt, 0.03)
    paint(picture, skull, BONE)
    level = radius(SHAPE, cx, cy, rx, ry, tilt)
    cavity = soft(level, 0.03)
    paint(picture, cavity, BRAIN + 2.5 * smooth_noise(rng, SHAPE, 10))
    # Grey matter is a little denser than white matter.
    paint(picture, cavity * np.clip((level - 0.82) / 0.06, 0, 1) * 0.8, BRAIN + 6)
    falx = np.clip(1 - np.abs(x - cx - np.tan(tilt) * (cy - y)) / 0.006, 0, 1)
    picture += 12 * cavity * falx

    scale = anatomy.uniform(0.85, 1.05) if hydrocephalus is None else 1.75 + 0.35 * hydrocephalus
    ventricles = _ventricles(cx, cy, scale)
    paint(picture, ventricles, FLUID)
    return picture, Head(cx, cy, rx, ry, tilt, level, cavity, skull, ventricles)


def _ventricles(centre_x: float, centre_y: float, scale: float) -> np.ndarray:
    """Return the mask of the two lateral ventricles, each of a frontal and an occipital horn."""
    mask = np.zeros(SHAPE, np.float32)
    for direction in (-1, 1):
        for dy, length, angle in ((-0.075, 0.075, -0.35), (0.085, 0.085, 0.35)):
            horn = ellipse(
                SHAPE,
                centre_x + direction * 0.042 * scale,
                centre_y + dy * scale**0.5,
                0.024 * scale,
                length * scale**0.6,
                angle * direction,
                0.2,
            )
            mask = np.maximum(mask, horn)
    return mask


def _outward(sign: Sign) -> int:
    """Return the direction in x from the midline to the sign's side. Raises ValueError if it has no side."""
    if sign.side is None:
        raise ValueError(f"{sign.finding} needs a side, left or right")
    # Seen from the feet: the patient's right is on the left of the picture.
    return -1 if sign.side == "right" else 1


def _sector(head: Head, sign: Sign, direction: float, half: float, edge: float) -> np.ndarray:
    """Return the mask of a sector from the head's centre to the sign's side.

    direction: down from the horizontal, in radians. half: half of its angle, in radians.
    """
    y, x = grid(SHAPE)
    angle = np.arctan2(y - head.centre_y, _outward(sign) * (x - head.centre_x))
    return soft(np.abs(angle - direction) / half, edge)


def _hydrocephalus(picture: np.ndarray, head: Head, rng: Rng, sign: Sign) -> Box:
    # The ventricles were drawn enlarged, below everything else.
    return box_of(head.ventricles)


def _intracerebral_hemorrhage(picture: np.ndarray, head: Head, rng: Rng, sign: Sign) -> Box:
    """Dense blood with a rim of oedema."""
    r = 0.050 + 0.040 * sign.extent
    at_x = head.centre_x + _outward(sign) * (0.13 + 0.05 * sign.place[0])
    at_y = head.centre_y + 0.24 * (sign.place[1] - 0.5) * 1.6
    mask = blob(rng, SHAPE, at_x, at_y, r, 0.25, 0.2)
    oedema = blob(rng, SHAPE, at_x, at_y, r * 1.45, 0.15, 0.4)
    paint(picture, oedema * head.cavity * (1 - mask), 22.0)
    paint(picture, mask * head.cavity, rng.uniform(64, 74))
    return box_of(mask)


def _infarct(picture: np.ndarray, head: Head, rng: Rng, sign: Sign) -> Box:
    """A dark wedge with its base at the cortex."""
    direction, half = (sign.place[1] - 0.5) * 1.2, 0.45 + 0.30 * sign.extent
    wedge = _sector(head, sign, direction, half, 0.2) * np.clip((head.level - 0.42) / 0.05, 0, 1)
    mask = wedge * head.cavity
    paint(picture, mask * 0.95, 17.0 + 2 * smooth_noise(rng, SHAPE, 16))
    return box_of(mask)


def _subdural_hematoma(picture: np.ndarray, head: Head, rng: Rng, sign: Sign) -> Box:
    """A crescent of blood between the skull and the brain that it pushes away."""
    _, x = grid(SHAPE)
    outward = _outward(sign)
    shift = 0.050 + 0.035 * sign.extent
    brain = radius(SHAPE, head.centre_x - outward * shift, head.centre_y, head.rx, head.ry * 1.04, head.tilt)
    mask = head.cavity * (1 - soft(brain, 0.04)) * (outward * (x - head.centre_x) > 0.12)
    paint(picture, mask, rng.uniform(60, 70))
    return box_of(mask)


def _lytic_skull_lesion(picture: np.ndarray, head: Head, rng: Rng, sign: Sign) -> Box:
    direction, half = (sign.place[1] - 0.5) * 1.3, 0.22 + 0.14 * sign.extent
    mask = _sector(head, sign, direction, half, 0.25) * head.skull * (1 - head.cavity)
    # Still above the soft tissue window, so that the wide window alone shows it.
    paint(picture, mask, rng.uniform(290, 370))
    return box_of(mask)


_FINDINGS: dict[str, Callable[[np.ndarray, Head, Rng, Sign], Box]] = {
    "intracerebral hemorrhage": _intracerebral_hemorrhage,
    "infarct": _infarct,
    "subdural hematoma": _subdural_hematoma,
    "lytic skull lesion": _lytic_skull_lesion,
    "hydrocephalus": _hydrocephalus,
}
"""By finding: (picture, head, rng, sign) paints the sign over the picture and returns its box."""
