"""Files of embeddings, and what two galleries must agree on, for the tests of export, import and merge."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from galleries import meta

from medsiglip_search.gallery import Gallery
from medsiglip_search.transfer.origin import KEY, Origin

FORMATS = ("parquet", "npz")
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def origin(dim: int = 2, **changes: Any) -> Origin:
    return Origin(replace(meta(dim), **changes), "")


def save(path: Path, rows: Any, said: Origin | None = None, **columns: Any) -> Path:
    """Write a file as another program would: `rows` as embeddings, the columns beside them."""
    if path.suffix == ".npz":
        if said:
            columns[f"_{KEY}"] = np.array(said.to_json().decode())
        np.savez(path, embedding=np.asarray(rows), **{name: np.asarray(one) for name, one in columns.items()})
        return path
    embedding = rows if isinstance(rows, pa.Array) else pa.array(list(np.asarray(rows)))
    table = pa.table({**columns, "embedding": embedding})
    pq.write_table(table.replace_schema_metadata({KEY: said.to_json()} if said else None), path)
    return path


def contents(gallery: Gallery | Path) -> list[tuple[Any, bytes]]:
    """Return the rows of a gallery without their ids, sorted: each instance and the bits of its embedding."""
    gallery = gallery if isinstance(gallery, Gallery) else Gallery.open(gallery)
    ids, embeddings = gallery.embeddings()
    rows = [
        (replace(one, image_id=0), embedding.tobytes())
        for one, embedding in zip(gallery.instances(ids), embeddings, strict=True)
    ]
    return sorted(rows, key=lambda row: (row[0].archive, row[0].uri, row[0].frame))


def rejections(gallery: Gallery | Path) -> list[tuple[Any, ...]]:
    gallery = gallery if isinstance(gallery, Gallery) else Gallery.open(gallery)
    rows = [(one.archive, one.uri, one.frame, one.reason, one.source_digest) for one in gallery.rejected()]
    return sorted(rows, key=str)


def uris(gallery: Gallery | Path) -> Sequence[str]:
    return [instance.uri for instance, _ in contents(gallery)]
