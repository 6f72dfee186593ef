"""Where in a picture a text is answered, as the encoder itself sees it.

Each patch is scored by what the encoder would say of it alone, weighed by how much the encoder looks at it.
docs/heatmap.md has how often that is the right place, and what else was tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from medsiglip_search.encoders import Encoder
from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.errors import ExplainerUnavailable
from medsiglip_search.records import PreprocessSpec

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are just outside."""

ATTENTION_POWER = 0.25
"""How strongly a patch counts that the encoder looks at. As it is, attention would decide alone."""

SMOOTHING = 1.0
"""Standard deviation of the smoothing, in half patches."""

_COLOURS = np.array([(32, 0, 96), (160, 0, 140), (235, 60, 50), (255, 160, 0), (255, 250, 120)], np.float32)
"""From cold to hot, evenly spaced."""


@runtime_checkable
class PatchScorer(Protocol):
    """What an `Encoder` needs besides for heatmaps; `SiglipEncoder` says what these are."""

    @property
    def patch_rows(self) -> int: ...

    def patch_scores(
        self, images: Sequence[np.ndarray], texts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """How well each place of a picture answers a text, beside the picture's other places.

    values: (H, W) float32, of the picture's size. 0 is its coldest place and 1 its hottest, whether or not
    the picture shows what the text says: that is what the score of the whole picture is for.
    """

    text: str
    values: np.ndarray

    @property
    def hottest(self) -> tuple[int, int]:
        """x and y of the hottest pixel."""
        y, x = np.unravel_index(self.values.argmax(), self.values.shape)
        return int(x), int(y)

    @property
    def share(self) -> float:
        """The share of the picture at least half as hot as its hottest place: small if that stands out."""
        return float((self.values >= 0.5).mean())

    def box(self, level: float = 0.5) -> Box:
        """Return the box around the hottest pixel and all that hang together with it at `level` or above."""
        from scipy.ndimage import find_objects, label  # slow to import

        x, y = self.hottest
        regions, _ = label(self.values >= min(level, float(self.values[y, x])))
        rows, columns = find_objects(regions)[regions[y, x] - 1]
        return columns.start, rows.start, columns.stop, rows.stop


def heatmap(encoder: Encoder, image: np.ndarray, text: str) -> Heatmap:
    """Return where (H, W, 3) uint8 `image` answers `text`: the same for the same picture and text.

    Raises ExplainerUnavailable for an encoder that cannot tell its patches apart, Unreadable and MemoryError
    as `embed_images` does.
    """
    return heatmaps(encoder, image, [text])[0]


def heatmaps(encoder: Encoder, image: np.ndarray, texts: Sequence[str]) -> list[Heatmap]:
    """Return a heatmap for each text; several take hardly longer than one. Raises what `heatmap` does."""
    if not isinstance(encoder, PatchScorer):
        raise ExplainerUnavailable(
            f"{encoder.name}: this encoder cannot score the patches of a picture; heatmaps need a SigLIP, "
            "such as demo or medsiglip"
        )
    views = half_patch_views(fitted(image, encoder.spec), encoder.patch_rows)
    cosines, attention = encoder.patch_scores(views, encoder.embed_texts(texts))
    return [
        Heatmap(text, spread(smoothed(joined(heat(cosines[:, n], attention))), image.shape[:2], encoder.spec))
        for n, text in enumerate(texts)
    ]


def half_patch_views(square: np.ndarray, patch_rows: int) -> list[np.ndarray]:
    """Return the fitted picture as it is, and moved left, up, and both by half a patch.

    Seen once, a finding on the border of two patches is half in each and stands out in neither.
    """
    half = len(square) // patch_rows // 2
    wide = np.pad(square, ((0, half), (0, half), (0, 0)), mode="edge")
    size = len(square)
    return [wide[down : down + size, right : right + size] for down in (0, half) for right in (0, half)]


def heat(cosines: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Return how hot patches are, of any shape; see `ATTENTION_POWER`."""
    # Above the mean: SigLIP's cosines are small and may all be negative, and only differences tell.
    return (cosines - cosines.mean()).clip(0) * attention**ATTENTION_POWER


def joined(views: np.ndarray) -> np.ndarray:
    """Return (2R, 2R) half patches, each the mean of the patches over it.

    views: (4, R, R), of the views in the order of `half_patch_views`.
    """
    rows = 2 * views.shape[1]
    total = np.zeros((rows + 1, rows + 1), np.float32)
    seen = np.zeros_like(total)
    for view, (down, right) in zip(views, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        total[down : down + rows, right : right + rows] += view.repeat(2, axis=0).repeat(2, axis=1)
        seen[down : down + rows, right : right + rows] += 1
    return (total / seen)[:rows, :rows]


def smoothed(cells: np.ndarray, width: float = SMOOTHING) -> np.ndarray:
    """Return (R, R) smoothed by a Gaussian of standard deviation `width`, in cells, cut off at the edges."""
    place = np.arange(len(cells), dtype=np.float32)
    kernel = np.exp(-(((place[:, None] - place) / width) ** 2) / 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    return kernel @ cells @ kernel.T


def spread(cells: np.ndarray, shape: tuple[int, ...], spec: PreprocessSpec) -> np.ndarray:
    """Return (H, W) float32 in 0..1: the part of the encoder's square that is the picture, at its size.

    What was cropped away is as cold as the coldest place.
    """
    rows, columns = shape
    if spec.fit == "crop" and rows != columns:  # as `middle` takes it
        length = min(rows, columns)
        above, before = (rows - length) // 2, (columns - length) // 2
        values = np.zeros((rows, columns), np.float32)
        values[above : above + length, before : before + length] = spread(cells, (length, length), spec)
        return values
    side = len(cells)
    left, top, right, bottom = 0.0, 0.0, float(side), float(side)
    if spec.fit == "pad":  # as `pad_square` places it
        scale = side / max(rows, columns)
        left, top = (max(rows, columns) - columns) // 2 * scale, (max(rows, columns) - rows) // 2 * scale
        right, bottom = left + columns * scale, top + rows * scale
    wide = Image.fromarray(np.asarray(cells, np.float32))
    values = np.array(wide.resize((columns, rows), Image.Resampling.BILINEAR, (left, top, right, bottom)))
    values -= values.min()
    return values / (values.max() or 1)


def overlay(image: np.ndarray, heatmap: Heatmap, opacity: float = 0.6) -> np.ndarray:
    """Return (H, W, 3) uint8: the picture, coloured the more the hotter it is; cold places stay as they are.

    opacity: 0..1, of the hottest place.
    Raises ValueError if the heatmap is of a picture of another size, or for another opacity.
    """
    if image.shape[:2] != heatmap.values.shape:
        raise ValueError(f"a heatmap of {heatmap.values.shape} on a picture of {image.shape[:2]}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be from 0 to 1, not {opacity}")
    weight = opacity * heatmap.values[..., None]
    return np.rint(image * (1 - weight) + _coloured(heatmap) * weight).astype(np.uint8)


def layer(heatmap: Heatmap) -> np.ndarray:
    """Return (H, W, 4) uint8 RGBA to lay over the picture: the hotter, the less it lets through.

    Over the picture with some opacity it looks as `overlay` does with that opacity.
    """
    return np.rint(np.dstack([_coloured(heatmap), 255 * heatmap.values])).astype(np.uint8)


def _coloured(heatmap: Heatmap) -> np.ndarray:
    """Return the (H, W, 3) colours of all places, 0..255."""
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(heatmap.values, places, channel) for channel in _COLOURS.T], axis=-1)
