"""A gallery of the demo encoder as large as wanted: the images of a synthetic archive, again and again."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.demo_galleries import demo_gallery
from medsiglip_search.encoders import DEMO_ENCODER, load_encoder
from medsiglip_search.gallery import Gallery

DRAWN = 2_000
NOISE = 0.15
"""By how much copies differ from what they are copied of: no two of them are the same image."""


def large_gallery(folder: Path, rows: int) -> Path:
    """Return the path of a gallery of so many images, made in the folder unless it is there.

    Thumbnails are those of drawn pictures; only these have a file in the archive.
    """
    path = folder / f"gallery-{rows}"
    if Gallery.exists(path) and len(Gallery.open(path)) == rows:
        return path
    _, source = demo_gallery(folder / "drawn", 0, DRAWN, load_encoder(DEMO_ENCODER, "cpu"))
    ids = source.select(None)
    instances, thumbnails = source.instances(ids), source.thumbnails(ids)
    embeddings = source.embeddings_of(ids)
    gallery = Gallery.create(path, source.meta)
    rng = np.random.default_rng(1)
    numbers = count(1)
    with gallery.writer() as writer:
        for start in range(0, rows, len(ids)):
            wanted = min(len(ids), rows - start)
            noise = rng.standard_normal((wanted, embeddings.shape[1])).astype(np.float32)
            noise *= NOISE / np.sqrt(embeddings.shape[1])
            moved = embeddings[:wanted] + (noise if start else 0)
            batch = [
                replace(
                    instance,
                    uri=f"{start // len(ids)}/{instance.uri}" if start else instance.uri,
                    pixel_digest=f"{next(numbers):064x}",
                )
                for instance in instances[:wanted]
            ]
            moved /= np.linalg.norm(moved, axis=1, keepdims=True)
            writer.commit(batch, thumbnails[:wanted], moved, ())
        writer.compact()
    return path
