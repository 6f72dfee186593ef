"""What must not answer a query for it is the query itself: the image, its study, its patient."""

from collections.abc import Callable

import numpy as np

from medsiglip_search import filters
from medsiglip_search.gallery import Gallery
from medsiglip_search.identifiers import identifiers_for
from medsiglip_search.querying.embedding import Embedded, Read
from medsiglip_search.querying.grouping import Groups


def left_out(
    gallery: Gallery, groups: Callable[[str], Groups], embedded: Embedded, other_patients: bool | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the image_ids that may not be hits, (N,) int64 ascending, and what is to be said of it.

    groups: gives the groups by a column. other_patients: as in `Query`.
    The images asked about, and those that hits are not to be like, are left out, and others with the same
    pixels. Where other patients are asked for, so are all images of the patients of the images asked about
    and of the query's files; of an image whose patient is not known just the image.
    """
    excluded, notes = _asked_about(gallery, groups, embedded, other_patients)
    if len(embedded.unlike):
        excluded = np.union1d(excluded, groups("pixel_digest").together(embedded.unlike))
    return excluded, notes


def _asked_about(
    gallery: Gallery, groups: Callable[[str], Groups], embedded: Embedded, other_patients: bool | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the images that are, or show, what is asked about, and what is to be said of it."""
    own = embedded.own
    if other_patients is None:
        other_patients = bool(len(own))
    notes: tuple[str, ...] = ()
    if other_patients and gallery.meta.identifiers == "drop":
        notes = ("the gallery stores no patients: only pictures with the same pixels are left out",)
    if other_patients and embedded.pictures:
        files = [_stored(gallery, picture) for picture in embedded.pictures]
        own = np.unique(np.concatenate([own, *files]))
        if not notes and not len(own) and not any(each.attributes.patient for each in embedded.pictures):
            notes = ("the query's files name no patient: nothing is left out",)
    if not len(own):
        return own, notes
    excluded = groups("pixel_digest").together(own)
    if other_patients:
        before = len(excluded)
        excluded = np.union1d(excluded, groups("patient").together(own))
        if more := len(excluded) - before:
            notes = (f"more images of the same patient, left out: {more}",)
    return excluded, notes


def _stored(gallery: Gallery, picture: Read) -> np.ndarray:
    """Return the image_ids of the gallery that have the pixels or the patient of a query's file."""
    columns, schema = gallery.columns(), gallery.schema
    condition = filters.of_values({"pixel_digest": picture.digest}, columns, schema)
    if picture.attributes.patient:
        patient = identifiers_for(gallery).attributes(picture.attributes).patient
        if patient is not None:
            condition += " OR " + filters.of_values({"patient": patient}, columns, schema)
    return gallery.select(condition)
