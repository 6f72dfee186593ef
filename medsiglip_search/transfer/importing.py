"""Embeddings made elsewhere, or exported from a gallery, into a gallery."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from medsiglip_search.encoders import load_encoder
from medsiglip_search.errors import GalleryMismatch, UnusableFile
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_schema import instances_of
from medsiglip_search.identifiers import Kept, StoredIdentifiers, identifiers_for
from medsiglip_search.records import GalleryMeta
from medsiglip_search.transfer import Progress, silent
from medsiglip_search.transfer.origin import IDENTIFIERS, Origin, require_comparable
from medsiglip_search.transfer.rows import EmbeddingsFile, RowReader, open_embeddings
from medsiglip_search.transfer.whole_files import Row, commit, file_keys, in_whole_files, repeated_frame

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Import:
    """What was taken in: so many embeddings, of so many files."""

    rows: int
    files: int


def import_embeddings(
    path: str | Path,
    file: str | Path,
    *,
    encoder: str | None = None,
    archive: str | None = None,
    normalize: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> Import:
    """Store the rows of a Parquet or NPZ file in the gallery at `path`, made where there is none.

    The file has the columns `uri` and `embedding`. Further ones are taken as what a gallery calls so (frame,
    modality, patient, ...); any other is a sidecar column. Rows that the gallery has of the same files are
    replaced. All is checked before anything is stored, and stored in batches of whole files: an import that
    was killed is made good by doing it again.

    encoder: what made the embeddings, as `load_encoder` takes it; a file written by `export` says it itself.
    archive: of rows without a column of that name, by default the file's own path.
    normalize: scale embeddings to norm 1; else others are refused.
    progress: told of the rows twice, as they are checked and as they are stored.
    Identifiers become what the gallery makes of them, unless the file says that they are pseudonyms already.
    Raises UnusableFile with the row or column, GalleryMismatch for another encoder or preprocessing,
    EncoderUnavailable, and the errors of the store.
    """
    path, file = Path(path), Path(file)
    with open_embeddings(file) as source:
        gallery = Gallery.open(path) if Gallery.exists(path) else None
        meta = _meta(source, gallery, encoder, device)
        own_name = os.fsencode(file.resolve()).decode("utf-8", "backslashreplace")
        reader = RowReader(
            source,
            meta.dim,
            own_name if archive is None else archive,
            normalize=normalize,
            stored=None if gallery is None else gallery.schema,
        )
        keys, identified = _checked(reader, source, progress)
        if gallery is None:
            gallery = Gallery.create(path, meta)
        if identified:
            _tell_of_unlike_pseudonyms(source, gallery)
        rows = _rows(reader, _identifiers(source, gallery))
        done = 0
        with gallery.writer() as writer:
            for batch in in_whole_files(rows, keys):
                commit(writer, batch)
                done += len(batch)
                progress(done, source.rows, "stored")
    return Import(source.rows, len(np.unique(keys)))


def _meta(source: EmbeddingsFile, gallery: Gallery | None, encoder: str | None, device: str) -> GalleryMeta:
    """Return what the rows are, which is what a new gallery will be.

    Raises UnusableFile if nothing tells, GalleryMismatch if `gallery` is something else.
    """
    exported = source.origin.meta if source.origin else None
    meta = exported
    if encoder is not None:
        # What a foreign file does not tell, how pictures were prepared, is taken to be the gallery's way.
        known = exported or (gallery.meta if gallery is not None else None)
        loaded = load_encoder(encoder, device)
        spec = known.spec if known else loaded.spec
        named = GalleryMeta(loaded.name, loaded.revision, loaded.weights_digest, loaded.dim, spec)
        if exported:
            require_comparable(source.path, exported, "--encoder", named)
        meta = exported or named
    if meta is None:
        raise UnusableFile(f"{source.path}: does not say what its embeddings were made with. Pass --encoder")
    if gallery is not None:
        require_comparable(gallery.path, gallery.meta, source.path, meta)
        if exported and (exported.identifiers, gallery.meta.identifiers) == ("pseudonym", "keep"):
            raise GalleryMismatch(
                f"{source.path}: holds pseudonyms, and {gallery.path} the files' own identifiers. "
                "Import it into another gallery"
            )
    return meta


def _identifiers(source: EmbeddingsFile, gallery: Gallery) -> StoredIdentifiers:
    """Return what makes the identifiers of the file those of the gallery; pseudonyms stay what they are."""
    are_pseudonyms = source.origin is not None and source.origin.meta.identifiers == "pseudonym"
    return Kept() if are_pseudonyms and gallery.meta.identifiers == "pseudonym" else identifiers_for(gallery)


def _tell_of_unlike_pseudonyms(source: EmbeddingsFile, gallery: Gallery) -> None:
    there, here = source.origin.pseudonym_key if source.origin else "", Origin.of(gallery).pseudonym_key
    if there and here and there != here:
        log.warning(
            "%s: its pseudonyms were made with another gallery's key: what is indexed into %s gets other "
            "ones for the same patients",
            source.path,
            gallery.path,
        )


def _checked(reader: RowReader, source: EmbeddingsFile, progress: Progress) -> tuple[np.ndarray, bool]:
    """Check every row; return for each what names its file, as `file_keys`, and if any has an identifier.

    Raises UnusableFile.
    """
    identified = False
    keys, frames = [np.empty(0, "S16")], [np.empty(0, np.int32)]
    for rows in reader:
        keys.append(file_keys(rows.cells["archive"].to_pylist(), rows.cells["uri"].to_pylist()))
        frames.append(rows.cells["frame"].to_numpy())
        identified |= any(rows.cells[name].null_count < len(rows.cells) for name in IDENTIFIERS)
        progress(rows.first + len(rows.embeddings), source.rows, "checked")
    all_keys = np.concatenate(keys)
    if repeated := repeated_frame(all_keys, np.concatenate(frames)):
        raise UnusableFile(
            f"{source.path}: row {repeated[0]}, counted from 0: the same frame of the same file as row "
            f"{repeated[1]}. Keep one of the two"
        )
    return all_keys, identified


def _rows(reader: RowReader, identifiers: StoredIdentifiers) -> Iterator[Row]:
    for rows in reader:
        instances = instances_of(pa.Table.from_batches([rows.cells]))
        for instance, thumbnail, embedding in zip(instances, rows.thumbnails, rows.embeddings, strict=True):
            attributes = identifiers.attributes(instance.attributes)
            yield replace(instance, attributes=attributes), thumbnail, embedding
