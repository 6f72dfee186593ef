"""Soft shapes and smooth noise on a picture whose sides are 1 long; what every drawing is made of."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

Rng = np.random.Generator
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are just outside."""
Point = tuple[float, float] | np.ndarray
"""x, y in 0..1."""


@lru_cache(maxsize=32)
def grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return y (rows, 1) and x (1, columns) float32: pixel centres, 0..1."""
    rows, columns = shape
    y = (np.arange(rows, dtype=np.float32) + 0.5) / rows
    x = (np.arange(columns, dtype=np.float32) + 0.5) / columns
    return y[:, None], x[None, :]


def radius(
    shape: tuple[int, int], cx: float, cy: float, rx: float, ry: float, angle: float = 0.0
) -> np.ndarray:
    """Return (rows, columns) float32: 0 at the centre of an ellipse, 1 on its edge."""
    y, x = grid(shape)
    dx, dy = x - cx, y - cy
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.sqrt(((c * dx + s * dy) / rx) ** 2 + ((c * dy - s * dx) / ry) ** 2)


def soft(level: np.ndarray, edge: float = 0.08) -> np.ndarray:
    """Return 1 where level is below 1, 0 where it is above, with a linear edge of that width."""
    return np.clip((1 - level) / edge + 0.5, 0, 1)


def ellipse(
    shape: tuple[int, int], cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, edge: float = 0.08
) -> np.ndarray:
    """Return (rows, columns) float32 mask, 1 inside."""
    return soft(radius(shape, cx, cy, rx, ry, angle), edge)


def blob(
    rng: Rng,
    shape: tuple[int, int],
    cx: float,
    cy: float,
    r: float,
    roughness: float = 0.25,
    edge: float = 0.1,
) -> np.ndarray:
    """Return the mask of a round shape whose outline wobbles by `roughness` of its radius r."""
    rows, columns = shape
    aspect = columns / rows
    y, x = grid(shape)
    dx, dy = (x - cx), (y - cy) / aspect
    angle = np.arctan2(dy, dx)
    outline = np.ones(shape, np.float32)
    for harmonic in (2, 3, 5):
        outline += (
            (roughness / harmonic**0.5) * rng.uniform(-1, 1) * np.cos(harmonic * angle + rng.uniform(0, 6.28))
        )
    return soft(np.sqrt(dx * dx + dy * dy) / (r * np.clip(outline, 0.3, 2)), edge)


def smooth_noise(rng: Rng, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Return (rows, columns) float32 noise of mean 0 and deviation about 1, `cells` bumps across."""
    rows, columns = shape
    coarse = rng.standard_normal((max(2, cells * rows // columns), cells)).astype(np.float32)
    picture = Image.fromarray(coarse).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(picture) * 1.2


def curve(start: Point, bend: Point, end: Point, points: int) -> np.ndarray:
    """Return (points, 2) x, y along a quadratic Bézier curve; `bend` is its control point."""
    t = np.linspace(0, 1, points)[:, None]
    return (1 - t) ** 2 * np.asarray(start) + 2 * t * (1 - t) * np.asarray(bend) + t**2 * np.asarray(end)


def strokes(shape: tuple[int, int], paths: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Return a mask of polylines. paths: (points (N, 2) as x, y in 0..1, width in 0..1) each."""
    rows, columns = shape
    picture = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(picture)
    for points, width in paths:
        pixels = [(float(x) * columns, float(y) * rows) for x, y in points]
        draw.line(pixels, fill=255, width=max(1, round(width * columns)), joint="curve")
    return np.asarray(picture, np.float32) / 255


def discs(shape: tuple[int, int], centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return a mask of many small discs. centres (N, 2) as x, y in 0..1; radii (N,) in 0..1 of the width."""
    rows, columns = shape
    picture = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(picture)
    for (x, y), r in zip(centres, radii, strict=True):
        px, py, pr = x * columns, y * rows, r * columns
        draw.ellipse((px - pr, py - pr, px + pr, py + pr), fill=255)
    return np.asarray(picture, np.float32) / 255


def paint(
    picture: np.ndarray, mask: np.ndarray, value: np.ndarray | float | tuple[float, float, float]
) -> None:
    """Lay a value or colour over the picture, in place, where mask is 1."""
    if picture.ndim == 3:
        mask = mask[..., None]
        value = np.asarray(value, np.float32)
    picture += mask * (value - picture)


def box_of(mask: np.ndarray, threshold: float = 0.3) -> Box:
    """Return the box around where the mask exceeds the threshold."""
    rows = np.flatnonzero((mask > threshold).any(axis=1))
    columns = np.flatnonzero((mask > threshold).any(axis=0))
    if not len(rows):
        raise ValueError("an empty mask has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
