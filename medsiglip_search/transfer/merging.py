"""Galleries of the same encoder into one."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medsiglip_search.errors import GalleryMismatch, Reason
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_schema import LabelColumn, RejectedFile, images_schema, instances_of
from medsiglip_search.transfer import Progress, silent
from medsiglip_search.transfer.columns import require_fit
from medsiglip_search.transfer.origin import IDENTIFIERS, require_comparable
from medsiglip_search.transfer.whole_files import Row, commit, file_keys, in_whole_files

log = logging.getLogger(__name__)

_REJECTED = tuple(field.name for field in fields(RejectedFile))


@dataclass(frozen=True, slots=True)
class Merge:
    """What came in: so many embeddings and so many files, embedded or rejected.

    already_there: files of the other galleries of which the target has its own rows, or had from one before.
    """

    rows: int
    files: int
    already_there: int


def merge(path: str | Path, others: Sequence[str | Path], *, progress: Progress = silent) -> Merge:
    """Add what `others` hold to the gallery at `path`, made where there is none; they are only read.

    A file that the target knows, embedded or rejected, stays there as it is; rows that come in get new ids.
    That is what indexing all archives into one gallery gives, but that nobody looks for SOP instances which
    two galleries show with unlike pixels. A new gallery has the first one's key, so its pseudonyms go on. A
    merge that was killed is made good by doing it again.

    Raises GalleryMismatch for another encoder, preprocessing or way with identifiers, InvalidMetadata for
    sidecar columns that do not fit together, GalleryDamaged where a file of `others` is not as it was
    written, all before anything is stored; and the errors of the store.
    """
    path = Path(path)
    sources = [_Source(Gallery.open(other)) for other in others]
    target = Gallery.open(path) if Gallery.exists(path) else None
    first = sources[0].gallery if target is None else target
    _require_one_kind(first, [source.gallery for source in sources])
    for source in sources:
        source.gallery.require_sound()
    if target is None:
        target = Gallery.create(path, first.meta, first.secret_key)

    total = sum(len(source.embedded) for source in sources)
    rows = files = already_there = done = 0
    with target.writer() as writer:
        there = _files_of(target)
        writer.note_labels(_decisions(target, [source.gallery for source in sources]))
        for source in sources:
            _tell_of_unlike_pseudonyms(target, source.gallery)
            missing = np.setdiff1d(source.files, there, assume_unique=True)
            done += int((~np.isin(source.embedded, missing)).sum())
            for batch, rejected in _batches(source, missing):
                commit(writer, batch, rejected)
                rows += len(batch)
                done += len(batch)
                progress(done, total, "merged")
            files += len(missing)
            already_there += len(source.files) - len(missing)
            there = np.union1d(there, missing)
    return Merge(rows, files, already_there)


class _Source:
    """A gallery to take from.

    embedded, rejected: what names the file of each row of its two tables, as `file_keys`. files: each once.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.embedded = _keys(gallery.cell_batches("archive", "uri"))
        self.rejected = _keys(gallery.rejected_batches("archive", "uri"))
        self.files = np.unique(np.concatenate([self.embedded, self.rejected]))

    def rows(self, wanted: np.ndarray) -> Iterator[Row]:
        """Yield the embedded rows for which `wanted`, (N,) bool, holds."""
        columns = [*self.gallery.columns(), "thumbnail", "embedding"]
        start = 0
        for batch in self.gallery.row_batches(columns):
            part = batch.filter(pa.array(wanted[start : start + len(batch)]))
            start += len(batch)
            instances = instances_of(pa.Table.from_batches([part.select(self.gallery.columns())]))
            embeddings = part["embedding"].flatten().to_numpy(zero_copy_only=False)
            embeddings = embeddings.reshape(-1, self.gallery.meta.dim)
            yield from zip(instances, part["thumbnail"].to_pylist(), embeddings, strict=True)

    def rejections(self, wanted: np.ndarray) -> Iterator[RejectedFile]:
        """Yield the rejections for which `wanted`, (M,) bool, holds."""
        cells = (
            row for batch in self.gallery.rejected_batches(*_REJECTED) for row in zip(*batch, strict=True)
        )
        for row in compress(cells, wanted):
            values: dict[str, Any] = dict(zip(_REJECTED, row, strict=True))
            yield RejectedFile(**{**values, "reason": Reason(values["reason"])})


def _batches(source: _Source, missing: np.ndarray) -> Iterator[tuple[Sequence[Row], Sequence[RejectedFile]]]:
    """Yield what the source holds of the files `missing`, whole files together."""
    embedded, rejected = np.isin(source.embedded, missing), np.isin(source.rejected, missing)
    partly = rejected & np.isin(source.rejected, source.embedded)
    wholly = rejected & ~partly
    for rejections in in_whole_files(source.rejections(wholly), source.rejected[wholly]):
        yield [], rejections
    beside: dict[bytes, list[RejectedFile]] = defaultdict(list)
    for key, rejection in zip(source.rejected[partly], source.rejections(partly), strict=True):
        beside[key].append(rejection)
    keys = source.embedded[embedded]
    for batch in in_whole_files(zip(keys, source.rows(embedded), strict=True), keys):
        of_these = dict.fromkeys(key for key, _ in batch)
        yield [row for _, row in batch], [one for key in of_these for one in beside.pop(key, ())]


def _files_of(gallery: Gallery) -> np.ndarray:
    """Return the files that a gallery is done with, ascending.

    Not those with rejected frames alone: there a merge was killed before the others were stored.
    """
    whole = (
        [cells for *cells, frame in zip(*batch, strict=True) if frame is None]
        for batch in gallery.rejected_batches("archive", "uri", "frame")
    )
    rejected = _keys(tuple(zip(*rows, strict=True)) for rows in whole if rows)
    return np.union1d(_keys(gallery.cell_batches("archive", "uri")), rejected)


def _keys(batches: Iterable[Sequence[Sequence[Any]]]) -> np.ndarray:
    return np.concatenate([file_keys([], []), *(file_keys(archives, uris) for archives, uris in batches)])


def _require_one_kind(first: Gallery, others: Sequence[Gallery]) -> None:
    """Raise GalleryMismatch or InvalidMetadata unless the rows of all can stand in one gallery."""
    columns = first.schema
    for other in others:
        require_comparable(first.path, first.meta, other.path, other.meta)
        if other.meta.identifiers != first.meta.identifiers:
            raise GalleryMismatch(
                f"{first.path} and {other.path} do not go together: made with --identifiers "
                f"{first.meta.identifiers} and {other.meta.identifiers}. Index the archives of one anew"
            )
        own = images_schema(other.meta.dim).names
        added = {field.name: field.type for field in other.schema if field.name not in own}
        columns = require_fit(str(other.path), added, columns)


def _decisions(target: Gallery, others: Sequence[Gallery]) -> dict[str, LabelColumn]:
    """Return the columns that come in with decisions of labels, less those that a table made here."""
    made = {name: column for other in others for name, column in other.label_columns().items()}
    tables = set(target.schema.names) - target.label_columns().keys()
    return {name: column for name, column in made.items() if name not in tables}


def _tell_of_unlike_pseudonyms(target: Gallery, other: Gallery) -> None:
    if target.meta.identifiers != "pseudonym" or other.secret_key == target.secret_key:
        return
    if len(other.select(" OR ".join(f"{name} IS NOT NULL" for name in IDENTIFIERS))):
        log.warning(
            "%s: its pseudonyms were made with another key than those of %s: a patient of both has two",
            other.path,
            target.path,
        )
