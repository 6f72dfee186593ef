"""The gallery that `benchmarks.search` measures on, and smaller parts of it; the same each time."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.index_files import generated
from benchmarks.vectors import Vectors
from medsiglip_search.gallery import Gallery
from medsiglip_search.index.rows import Base, Rows
from medsiglip_search.records import GalleryMeta, PreprocessSpec

DIM = 1152
WEIGHTS_DIGEST = "ab" * 32
DRAWN = "draw"
"""A column of numbers from 0 to 1, evenly spread: `draw < 0.05` keeps 5 % of the images."""

_AT_ONCE = 16_384


def search_gallery(path: Path, rows: int) -> Gallery:
    """Return the gallery of so many images at `path`, which is made where there is none."""
    if Gallery.exists(path) and len(gallery := Gallery.open(path)) == rows:
        return gallery
    meta = GalleryMeta("generated", "1", WEIGHTS_DIGEST, DIM, PreprocessSpec())
    gallery = Gallery.create(path, meta)
    draw = np.random.default_rng(5)
    instances = generated()
    with gallery.writer() as writer:
        for embeddings in Vectors(DIM).blocks(rows, _AT_ONCE):
            drawn = draw.random(len(embeddings))
            batch = [
                replace(instance, sidecar={DRAWN: float(number)})
                for instance, number in zip(islice(instances, len(drawn)), drawn, strict=True)
            ]
            writer.commit(batch, [b""] * len(batch), embeddings, ())
        writer.compact()
    return gallery


def queries(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (count, DIM) images and texts that are not in the gallery, and lie as its images do."""
    held_out = Vectors(DIM, draws=1)
    return held_out.images(count), held_out.texts(count)


def first_rows(rows: Rows, count: int) -> Rows:
    """Return the first rows of the base alone."""
    base = rows.saved
    part = Base({"key": str(count)}, base.embeddings[:count], base.known[:count])
    return Rows(part, part.known, np.empty((0, DIM), np.float16))
