"""Frontal chest radiographs, drawn as 12-bit values; bone is high."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.drawing.canvas import (
    Box,
    Rng,
    blob,
    box_of,
    curve,
    ellipse,
    grid,
    paint,
    radius,
    smooth_noise,
    soft,
    strokes,
)
from medsiglip_search.demo.findings import Side, Sign

MAX_VALUE = 4095


@dataclass(frozen=True, slots=True)
class Lung:
    """One lung; lengths are 0..1 of the picture's sides.

    outward: -1 or 1, the direction in x from the spine to the ribs.
    ellipse: mask of the whole ellipse, behind the diaphragm too.
    aerated: mask of the part above the diaphragm.
    """

    centre_x: float
    centre_y: float
    rx: float
    ry: float
    outward: int
    ellipse: np.ndarray
    aerated: np.ndarray


@dataclass(frozen=True, slots=True)
class Chest:
    """What the findings need to know of the anatomy; lengths are 0..1 of the picture's sides.

    shape: rows and columns. middle: x of the spine. centre_y: of both lungs. heart: mask.
    """

    shape: tuple[int, int]
    middle: float
    centre_y: float
    lungs: Mapping[Side, Lung]
    heart: np.ndarray


def draw(anatomy: Rng, rng: Rng, signs: Sequence[Sign]) -> tuple[np.ndarray, list[Box | None]]:
    """Return (rows, columns) uint16 in 0..4095 and a box for each sign.

    anatomy: draws what stays the same in all pictures of a patient; rng: what differs.
    Raises ValueError for a finding that a chest radiograph cannot show.
    """
    cardiomegaly = next((sign.extent for sign in signs if sign.finding == "cardiomegaly"), None)
    picture, chest = _normal_chest(anatomy, rng, cardiomegaly)

    boxes: list[Box | None] = []
    for sign in signs:
        if sign.finding not in _FINDINGS:
            raise ValueError(f"a chest radiograph cannot show {sign.finding}")
        boxes.append(_FINDINGS[sign.finding](picture, chest, rng, sign))

    scatter = smooth_noise(rng, chest.shape, 12)
    picture += 0.010 * scatter + 0.014 * rng.standard_normal(chest.shape, dtype=np.float32)
    exposure = rng.uniform(0.92, 1.06)
    return np.clip(picture * exposure * 3600 + 200, 0, MAX_VALUE).astype(np.uint16), boxes


def _normal_chest(anatomy: Rng, rng: Rng, cardiomegaly: float | None) -> tuple[np.ndarray, Chest]:
    """Return the picture, (rows, columns) float32 in about 0..1, and where things are in it.

    cardiomegaly: its extent; None for a heart of normal size.
    """
    shape = (int(anatomy.integers(288, 337)), int(anatomy.integers(264, 321)))
    wide = anatomy.uniform(0.92, 1.06)
    lung_rx, lung_ry = 0.165 * wide, anatomy.uniform(0.31, 0.35)
    middle = 0.5 + rng.uniform(-0.02, 0.02)
    centre_y = 0.46 + rng.uniform(-0.02, 0.02)
    tissue = anatomy.uniform(0.50, 0.58)
    lungs: dict[Side, Lung] = {
        # The patient faces the reader: the right lung is on the left of the picture.
        "right": _lung(shape, middle - 0.205 * wide, centre_y, lung_rx, lung_ry, outward=-1, depth=0.72),
        "left": _lung(shape, middle + 0.205 * wide, centre_y, lung_rx, lung_ry, outward=1, depth=0.78),
    }

    picture = np.full(shape, 0.03, np.float32)
    trunk = ellipse(shape, middle, 0.62, 0.47 * wide, 0.66, edge=0.04)
    neck = ellipse(shape, middle, 0.02, 0.11, 0.20, edge=0.2)
    paint(picture, trunk, tissue)
    paint(picture, neck, tissue + 0.08)
    for lung in lungs.values():
        paint(picture, lung.aerated, anatomy.uniform(0.16, 0.22))
    mediastinum = ellipse(shape, middle, 0.5, 0.05, 0.6, edge=0.3)
    paint(picture, mediastinum * 0.8, 0.72)
    heart_rx = anatomy.uniform(0.115, 0.14) if cardiomegaly is None else 0.225 + 0.04 * cardiomegaly
    heart_ry = 0.13 + 0.25 * (heart_rx - 0.12)
    heart = ellipse(shape, middle + 0.3 * heart_rx, centre_y + 0.17, heart_rx, heart_ry, -0.25, 0.1)
    paint(picture, heart, 0.70)

    chest = Chest(shape, middle, centre_y, lungs, heart)
    _paint_ribs(picture, chest)
    _paint_clavicles(picture, chest)
    _paint_hila(picture, chest)
    return picture, chest


def _lung(
    shape: tuple[int, int], centre_x: float, centre_y: float, rx: float, ry: float, outward: int, depth: float
) -> Lung:
    """Return a lung. depth: of the diaphragm's dome below the lung's centre, as a part of ry."""
    y, x = grid(shape)
    dome = centre_y + ry * depth + 1.6 * (x - centre_x) ** 2
    whole = soft(radius(shape, centre_x, centre_y, rx, ry), 0.1)
    aerated = whole * np.clip((dome - y) / 0.02, 0, 1)
    return Lung(centre_x, centre_y, rx, ry, outward, whole, aerated)


def _paint_ribs(picture: np.ndarray, chest: Chest) -> None:
    y, x = grid(chest.shape)
    ribs = np.zeros(chest.shape, np.float32)
    for index in range(8):
        height = chest.centre_y - 0.30 + 0.085 * index
        from_spine = np.abs(x - chest.middle)
        arc = np.abs(y - height - 0.9 * (from_spine - 0.2) ** 2 - 0.25 * from_spine)
        ribs = np.maximum(ribs, np.clip(1.6 - arc / 0.008, 0, 1))
    # Over air a rib stands out; over soft tissue it hardly does.
    both_lungs = np.maximum(chest.lungs["left"].aerated, chest.lungs["right"].aerated)
    picture += 0.055 * ribs * np.maximum(both_lungs, 0.3 * (picture > 0.3))


def _paint_clavicles(picture: np.ndarray, chest: Chest) -> None:
    y, x = grid(chest.shape)
    for centre_x, slope in ((chest.middle - 0.2, 0.22), (chest.middle + 0.2, -0.22)):
        across = np.abs(y - (chest.centre_y - 0.27) - slope * (x - centre_x)) / 0.011
        beyond_ends = np.clip(np.abs(x - centre_x) - 0.13, 0, 1)
        picture += 0.16 * np.clip(1.5 - (across + 8 * beyond_ends), 0, 1)


def _paint_hila(picture: np.ndarray, chest: Chest) -> None:
    for lung in chest.lungs.values():
        hilum_x = lung.centre_x - 0.11 * lung.outward
        paint(picture, 0.35 * ellipse(chest.shape, hilum_x, lung.centre_y + 0.02, 0.035, 0.06, edge=0.9), 0.6)


def _lung_with(chest: Chest, sign: Sign) -> Lung:
    """Return the lung on the sign's side. Raises ValueError if the sign has none."""
    if sign.side is None:
        raise ValueError(f"{sign.finding} needs a side, left or right")
    return chest.lungs[sign.side]


def _cardiomegaly(picture: np.ndarray, chest: Chest, rng: Rng, sign: Sign) -> Box:
    # The heart was drawn enlarged, below the bones.
    return box_of(chest.heart)


def _hilar_enlargement(picture: np.ndarray, chest: Chest, rng: Rng, sign: Sign) -> Box:
    """Three lymph nodes at each hilum."""
    r = 0.030 + 0.018 * sign.extent
    mask = np.zeros(chest.shape, np.float32)
    for direction in (-1, 1):
        for _ in range(3):
            node_x = chest.middle + direction * rng.uniform(0.085, 0.125)
            node_y = chest.centre_y + rng.uniform(-0.07, 0.05)
            mask = np.maximum(mask, blob(rng, chest.shape, node_x, node_y, r, 0.2, 0.3))
    paint(picture, mask * 0.9, 0.78)
    return box_of(mask)


def _pleural_effusion(picture: np.ndarray, chest: Chest, rng: Rng, sign: Sign) -> Box:
    """Fluid from the lung base up, its surface higher towards the ribs."""
    y, x = grid(chest.shape)
    lung = _lung_with(chest, sign)
    level = lung.centre_y + lung.ry * (0.45 - 0.40 * sign.extent)
    rise = 0.55 * np.clip(lung.outward * (x - lung.centre_x) + 0.02, 0, None)
    meniscus = level - rise + rng.uniform(-0.01, 0.01)
    mask = lung.ellipse * np.clip((y - meniscus) / 0.03, 0, 1)
    paint(picture, mask * 0.95, 0.74)
    return box_of(mask)


def _pneumothorax(picture: np.ndarray, chest: Chest, rng: Rng, sign: Sign) -> Box:
    """Black air between the ribs and the thin white edge of the collapsed lung."""
    _, x = grid(chest.shape)
    lung = _lung_with(chest, sign)
    shift = 0.045 + 0.055 * sign.extent
    collapsed_x, collapsed_y = lung.centre_x - lung.outward * shift, lung.centre_y + 0.8 * shift
    collapsed = radius(chest.shape, collapsed_x, collapsed_y, lung.rx * 0.95, lung.ry * 0.97)
    lateral = lung.outward * (x - lung.centre_x) > -0.06
    mask = lung.aerated * (1 - soft(collapsed, 0.06)) * lateral
    paint(picture, mask, 0.04)
    paint(picture, lung.aerated * np.clip(1.4 - np.abs(collapsed - 1) / 0.035, 0, 1) * lateral, 0.62)
    return box_of(mask)


def _consolidation(picture: np.ndarray, chest: Chest, rng: Rng, sign: Sign) -> Box:
    lung = _lung_with(chest, sign)
    r = 0.065 + 0.045 * sign.extent
    at_x = lung.centre_x + lung.outward * (0.05 * sign.place[0] - 0.02)
    at_y = lung.centre_y + lung.ry * (-0.45 + 0.85 * sign.place[1])
    patchy = np.clip(0.85 + 0.25 * smooth_noise(rng, chest.shape, 22), 0.35, 1)
    mask = blob(rng, chest.shape, at_x, at_y, r, 0.35, 0.5) * lung.aerated
    paint(picture, mask * patchy * 0.85, 0.66)
    return box_of(mask)


def _pulmonary_nodule(picture: np.ndarray, chest: Chest, rng: Rng, sign: Sign) -> Box:
    lung = _lung_with(chest, sign)
    r = 0.030 + 0.018 * sign.extent
    at_x = lung.centre_x + lung.outward * (0.09 * sign.place[0] - 0.02)
    at_y = lung.centre_y + lung.ry * (-0.55 + 1.0 * sign.place[1])
    mask = blob(rng, chest.shape, at_x, at_y, r, 0.08, 0.25)
    paint(picture, mask * 0.95, 0.80)
    return box_of(mask)


def _pacemaker(picture: np.ndarray, chest: Chest, rng: Rng, sign: Sign) -> Box:
    """A generator below the clavicle and its lead to the heart; the box is around the generator alone."""
    y, x = grid(chest.shape)
    lung = _lung_with(chest, sign)
    at_x = lung.centre_x + lung.outward * 0.03 * sign.place[0]
    at_y = lung.centre_y - 0.20 + 0.05 * sign.place[1]
    half = 0.045 + 0.012 * sign.extent
    generator = soft(np.maximum(np.abs(x - at_x) / half, np.abs(y - at_y) / (half * 0.8)), 0.1)
    vein = (chest.middle - 0.01, chest.centre_y - 0.2)
    ventricle = (chest.middle + 0.06, chest.centre_y + 0.2)
    lead = curve((at_x, at_y), vein, ventricle, points=24)
    paint(picture, strokes(chest.shape, [(lead, 0.010)]), 0.97)
    paint(picture, generator, 0.99)
    return box_of(generator)


_FINDINGS: dict[str, Callable[[np.ndarray, Chest, Rng, Sign], Box]] = {
    "pleural effusion": _pleural_effusion,
    "pneumothorax": _pneumothorax,
    "consolidation": _consolidation,
    "pulmonary nodule": _pulmonary_nodule,
    "pacemaker": _pacemaker,
    "cardiomegaly": _cardiomegaly,
    "hilar enlargement": _hilar_enlargement,
}
"""By finding: (picture, chest, rng, sign) paints the sign over the picture and returns its box."""
