"""Small galleries made by hand, for the tests of the store, the index and search."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medsiglip_search.errors import Reason
from medsiglip_search.gallery import Gallery, RejectedFile
from medsiglip_search.records import Attributes, GalleryMeta, Instance, PreprocessSpec

ARCHIVE = "/data/archive"
SPEC = PreprocessSpec(size=2)


def meta(dim: int = 2) -> GalleryMeta:
    return GalleryMeta(encoder="by-hand", revision="1", weights_digest="ab" * 32, dim=dim, spec=SPEC)


def instance(
    uri: str, frame: int = 0, mtime_ns: int = 1, archive: str = ARCHIVE, **attributes: Any
) -> Instance:
    sidecar = attributes.pop("sidecar", {})
    flags = attributes.pop("flags", ())
    return Instance(
        image_id=0,
        archive=archive,
        uri=uri,
        frame=frame,
        source_digest=f"source of {uri} at {mtime_ns}",
        pixel_digest=f"pixels of {uri} {frame}",
        size=len(uri),
        mtime_ns=mtime_ns,
        rows=3,
        columns=4,
        attributes=Attributes(**attributes),
        flags=flags,
        sidecar=sidecar,
    )


def rejected(uri: str, frame: int | None = None, mtime_ns: int = 1, archive: str = ARCHIVE) -> RejectedFile:
    return RejectedFile(
        uri, frame, Reason.TRUNCATED, "pixel data ends early", archive, len(uri), mtime_ns, f"source of {uri}"
    )


def unit(rows: Any) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def gallery_of(path: Path, rows: Any, instances: Sequence[Instance] = ()) -> Gallery:
    """Make a gallery of these rows, which need not be unit, in one commit; the files are 0.png, 1.png, ..."""
    embeddings = unit(rows)
    instances = instances or [instance(f"{number}.png") for number in range(len(embeddings))]
    gallery = Gallery.create(path, replace(meta(), dim=embeddings.shape[1]))
    with gallery.writer() as writer:
        writer.commit(instances, [f"jpeg of {one.uri}".encode() for one in instances], embeddings, [])
    return gallery
