"""Decisions as columns of the gallery itself, so that images are filtered by them and found."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsiglip_search.errors import InvalidLabelSet, InvalidMetadata
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_schema import OWN_COLUMNS, LabelColumn, missing_label_columns
from medsiglip_search.gallery_table import ADDRESS
from medsiglip_search.gallery_writer import GalleryWriter
from medsiglip_search.labelling.run import labelled_blocks
from medsiglip_search.labels.classifier import Classifier
from medsiglip_search.labels.labeller import ABSTAIN, DECISIONS, PRESENT, Labelled, Labeller
from medsiglip_search.transfer import Progress, silent

RESERVED = frozenset(
    {
        "all",
        "and",
        "any",
        "as",
        "asc",
        "between",
        "by",
        "case",
        "cast",
        "desc",
        "distinct",
        "else",
        "end",
        "exists",
        "false",
        "from",
        "group",
        "having",
        "in",
        "is",
        "join",
        "like",
        "limit",
        "not",
        "null",
        "offset",
        "on",
        "or",
        "order",
        "select",
        "some",
        "table",
        "then",
        "true",
        "union",
        "using",
        "when",
        "where",
        "with",
    }
)
"""Words of SQL, which a filter would not take for a column."""


def columns_of(labeller: Labeller, prefix: str | None = None) -> dict[str, LabelColumn]:
    """Return the columns that decisions of a labeller are stored in, in the order of its labels.

    Findings have one each, `<set>_<label>`; exclusive labels one together, `<set>`, or `<set>_label` where
    that is a word of its own; written so that a filter can name them without quotes. prefix: instead of the
    set's name. Raises InvalidLabelSet if two labels would have the same column.
    """
    classifier, fitted = labeller.classifier, None
    if labeller.calibration is not None:
        fitted = hashlib.sha256(repr(labeller.calibration).encode()).hexdigest()
    first = slug(prefix if prefix is not None else classifier.name)
    if classifier.mode == "exclusive":
        name = f"{first}_label" if first in RESERVED or first in OWN_COLUMNS else first
        return {name: LabelColumn(classifier.name, classifier.digest, None, fitted)}
    columns: dict[str, LabelColumn] = {}
    for label in classifier.labels:
        name = f"{first}_{slug(label, 'label')}"
        if name in columns:
            raise InvalidLabelSet(
                f"{classifier.name}: {columns[name].label!r} and {label!r} would both be stored as column "
                f"{name}; rename one of them"
            )
        columns[name] = LabelColumn(classifier.name, classifier.digest, label, fitted)
    return columns


def slug(text: str, empty: str = "labels") -> str:
    """Return text in small letters a to z, digits and _, beginning with a letter."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    found = re.sub("[^a-z0-9]+", "_", plain).strip("_")
    return found if found[:1].isalpha() else f"{empty}_{found}".rstrip("_")


def require_columns(
    gallery: Gallery, labeller: Labeller, prefix: str | None, where: str | None
) -> dict[str, LabelColumn]:
    """Return `columns_of`, for which there must be room; for some images alone, in columns of the same kind.

    Raises InvalidMetadata, InvalidLabelSet.
    """
    columns = columns_of(labeller, prefix)
    made = gallery.label_columns()
    try:
        missing_label_columns(columns, made, gallery.schema)
    except InvalidMetadata as error:
        raise InvalidMetadata(
            f"{gallery.path}: decisions cannot be stored: {error}. Pass --prefix with another name"
        ) from None
    other = [name for name, column in columns.items() if name in made and made[name] != column]
    if where is not None and other:
        raise InvalidMetadata(
            f"{gallery.path}: column {other[0]!r} holds decisions by other prompts or another calibration, "
            "and would hold both. Leave --where out, or pass --prefix with another name"
        )
    return columns


def store_decisions(
    writer: GalleryWriter,
    labeller: Labeller,
    *,
    where: str | None = None,
    prefix: str | None = None,
    progress: Progress = silent,
) -> list[str]:
    """Store what the labeller decides of the images that fit `where`; return the names of the columns.

    Other images keep what they had. All columns come in one commit, so that a kill leaves all values as they
    were; rows keep their ids, and the index stays what it is. Bounded memory.
    Raises InvalidMetadata for a name that a column of something else has, InvalidQuery, and the errors of the
    store; GalleryDamaged where values must be kept that are not as they were written.
    """
    gallery = writer.gallery
    columns = require_columns(gallery, labeller, prefix, where)
    chosen = None if where is None else gallery.select(where)
    if chosen is not None:
        gallery.require_sound()  # what stays is written anew with what is new

    def decisions() -> Iterator[pa.RecordBatch]:
        kept = [] if chosen is None else list(columns)
        done = 0
        for block in labelled_blocks(gallery, labeller, columns=("image_id", ADDRESS, *kept)):
            cells = _cells(labeller.classifier, block.labelled)
            if chosen is not None:
                is_chosen = pa.array(np.isin(block.image_ids, chosen))
                cells = [
                    pc.if_else(is_chosen, new, block.keys[name])
                    for name, new in zip(columns, cells, strict=True)
                ]
            yield pa.record_batch([*cells, block.keys[ADDRESS]], names=[*columns, ADDRESS])
            done += len(block)
            progress(done, len(gallery), "stored")

    writer.write_labels(columns, decisions)
    return list(columns)


def _cells(classifier: Classifier, labelled: Labelled) -> list[pa.Array]:
    """Return the text of each column."""
    if classifier.mode == "findings":
        return [_words(column, DECISIONS) for column in labelled.decisions.T]
    is_kept = labelled.decisions.max(axis=1) != ABSTAIN
    best = np.where(is_kept, (labelled.decisions == PRESENT).argmax(axis=1), len(classifier.labels))
    return [_words(best, (*classifier.labels, DECISIONS[ABSTAIN]))]


def _words(numbers: np.ndarray, words: tuple[str, ...]) -> pa.Array:
    indices = pa.array(np.ascontiguousarray(numbers, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string())).cast(pa.string())
