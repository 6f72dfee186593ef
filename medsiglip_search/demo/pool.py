"""Drawn pictures to train the demo encoder on, none of them from an archive."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from medsiglip_search.demo.cases import CARDS, draw_signs, render
from medsiglip_search.demo.drawing import DRAW
from medsiglip_search.demo.drawing.canvas import Box
from medsiglip_search.demo.findings import MODALITIES, SIDES, Modality, Sign
from medsiglip_search.demo.network import GRID, SIZE, SPEC
from medsiglip_search.demo.workers import worker_pool
from medsiglip_search.encoders.fitting import fitted

FINDINGS = [
    f"{side}{finding.name}"
    for modality in MODALITIES
    for finding in modality.findings
    for side in ("", *((f"{side} " for side in SIDES) if finding.sided else ()))
]
"""What a patch is taught to name: each finding, and on its side where it has one."""

Case = tuple[Modality, tuple[Sign, ...]]


@dataclass(frozen=True, slots=True)
class Pool:
    """Drawn pictures to learn from.

    pixels: (N, SIZE, SIZE, 3) uint8.
    places: (N, GRID, GRID, findings) bool, in which patches each finding is.
    cases: what each shows.
    """

    pixels: np.ndarray
    places: np.ndarray
    cases: list[Case]


def draw_pool(seed: int, pictures: int) -> Pool:
    """Return that many pictures, each of its own anatomy, as the encoder will get them."""
    seeds = [(seed, chunk) for chunk in range(math.ceil(pictures / 250))]
    with worker_pool() as workers:
        chunks = list(workers.map(partial(_draw_chunk, pictures=250), seeds))
    pixels = np.concatenate([chunk.pixels for chunk in chunks])[:pictures]
    places = np.concatenate([chunk.places for chunk in chunks])[:pictures]
    return Pool(pixels, places, [case for chunk in chunks for case in chunk.cases][:pictures])


def _draw_chunk(seed: tuple[int, int], pictures: int) -> Pool:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    pixels = np.empty((pictures, SIZE, SIZE, 3), np.uint8)
    places = np.zeros((pictures, GRID, GRID, len(FINDINGS)), bool)
    cases: list[Case] = []
    for row in range(pictures):
        modality, finding = CARDS[rng.integers(len(CARDS))]
        signs = draw_signs(rng, modality, finding)
        values, boxes = DRAW[modality.code](rng, rng, signs)
        picture = render(modality.code, values)
        if modality.code == "OP" and rng.random() < 0.25:
            picture = np.repeat(picture[..., 1:2], 3, axis=2)  # red-free, as the archive's grey photographs
        pixels[row] = fitted(picture, SPEC)
        for sign, box in zip(signs, boxes, strict=True):
            for name in {sign.finding, sign.label}:
                places[row, *_patches(box, picture.shape), FINDINGS.index(name)] = True
        cases.append((modality, signs))
    return Pool(pixels, places, cases)


def _patches(box: Box | None, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of the patches that a box of a picture covers; all without a box."""
    if box is None:
        return slice(None), slice(None)
    rows, columns = shape[:2]
    side = max(rows, columns)
    x0, y0, x1, y1 = (edge * GRID / side for edge in box)
    right, down = (side - columns) // 2 * GRID / side, (side - rows) // 2 * GRID / side
    return slice(int(y0 + down), math.ceil(y1 + down)), slice(int(x0 + right), math.ceil(x1 + right))


@dataclass(frozen=True, slots=True)
class Batch:
    """pixels: (B, 3, SIZE, SIZE) float32 in -1..1. places: (B, patches, findings) float32, 0 or 1."""

    pixels: torch.Tensor
    places: torch.Tensor
    cases: list[Case]


def batches(rng: np.random.Generator, pool: Pool, size: int) -> Iterator[Batch]:
    """Yield batches for ever, each picture a little shifted and exposed in its own way."""
    while True:
        order = rng.permutation(len(pool.cases))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            pixels = torch.from_numpy(pool.pixels[rows]).permute(0, 3, 1, 2).float()
            for row, (down, across) in enumerate(rng.integers(-2, 3, (size, 2)).tolist()):
                pixels[row] = _shift(pixels[row], down, across)
            contrast = torch.from_numpy(rng.uniform(0.9, 1.1, (size, 1, 1, 1)).astype(np.float32))
            brightness = torch.from_numpy(rng.uniform(-12, 12, (size, 1, 1, 1)).astype(np.float32))
            pixels = (pixels * contrast + brightness * (pixels > 0)).clamp(0, 255)
            places = torch.from_numpy(pool.places[rows]).flatten(1, 2).float()
            yield Batch(pixels / 127.5 - 1, places, [pool.cases[row] for row in rows])


def _shift(picture: torch.Tensor, down: int, across: int) -> torch.Tensor:
    """Return (3, H, W) moved by so many pixels, black where nothing was."""
    moved = torch.zeros_like(picture)
    height, width = picture.shape[1:]
    target = (slice(max(0, down), height + min(0, down)), slice(max(0, across), width + min(0, across)))
    source = (slice(max(0, -down), height + min(0, -down)), slice(max(0, -across), width + min(0, -across)))
    moved[:, target[0], target[1]] = picture[:, source[0], source[1]]
    return moved
