"""Whose images they are: figures of images of one patient go up and down together."""

import re
from collections.abc import Sequence

import numpy as np

from medsiglip_search.errors import InvalidTruth
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import Instance
from medsiglip_search.truth.table import TruthTable


def patients_of(
    table: TruthTable, gallery: Gallery, matched: Sequence[tuple[int, int]], pattern: str | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return whose images these are, (N,) int64, and what is to be said of it.

    matched: image_ids with the numbers of their rows. pattern: see `truth.join`. Raises InvalidTruth.
    """
    stored = gallery.instances([image_id for image_id, _ in matched])
    if pattern is not None:
        named = _found_in_paths([one.uri for one in stored], pattern)
    elif "patient" in table.columns:
        cells = table.cells("patient")
        named = [cells[row] for _, row in matched]
    else:
        named = [""] * len(stored)
    keys = [("named", name) if name else _known_as(one) for name, one in zip(named, stored, strict=True)]
    codes: dict[tuple[str, str], int] = {}
    patients = np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)
    unknown = sum(kind in ("study", "file") for kind, _ in keys)
    if not unknown:
        return patients, ()
    return patients, (
        f"{unknown} of {len(named)} images are of an unknown patient, and each study or file counts as one: "
        "figures may look surer than they are; fill a column patient of the table, or pass --patient",
    )


def _known_as(image: Instance) -> tuple[str, str]:
    """Return what tells an image's patient in the gallery, or comes nearest to that."""
    if image.attributes.patient:
        return "patient", image.attributes.patient
    if image.attributes.study:
        return "study", image.attributes.study
    return "file", f"{image.archive}/{image.uri}"


def _found_in_paths(uris: Sequence[str], pattern: str) -> list[str]:
    """Return what the pattern, or its first group, matches of each path, "" where it does not."""
    try:
        patient = re.compile(pattern)
    except re.error as error:
        raise InvalidTruth(f"--patient {pattern}: no regular expression: {error}; correct it") from None
    matches = [patient.search(uri) for uri in uris]
    if not any(matches):
        raise InvalidTruth(f"--patient {pattern}: matches none of the paths, such as {uris[0]!r}; change it")
    return ["" if match is None else match[min(1, patient.groups)] or "" for match in matches]
