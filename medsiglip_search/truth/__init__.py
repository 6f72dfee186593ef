"""What is known of the images of a gallery: a table, joined to them by path or SOP instance UID.

table (`table`) -> its rows' images (`images`), their patients (`patients`), what is said of them (`words`)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medsiglip_search.errors import InvalidTruth
from medsiglip_search.gallery import Gallery
from medsiglip_search.labels import Mode
from medsiglip_search.truth.images import match
from medsiglip_search.truth.patients import patients_of
from medsiglip_search.truth.table import TruthTable, read_truth
from medsiglip_search.truth.words import count_uncertain, said_of

__all__ = ["Truth", "TruthTable", "join", "read_truth"]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a table says of images of one gallery.

    image_ids: (N,) int64 ascending. labels: L names. present: (N, L) int8, 1 and 0, -1 where nothing is said.
    patients: (N,) int64, equal for images of one patient; an image of an unknown one is by itself.
    unknown: the rows, by path or instance, that name no image of the gallery.
    notes: what a reader of figures should know: what was left out, and where the patients come from.
    """

    path: Path
    digest: str
    image_ids: np.ndarray
    labels: tuple[str, ...]
    present: np.ndarray
    patients: np.ndarray
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, labels: Sequence[str]) -> np.ndarray:
        """Return `present` with these labels as columns. Raises InvalidTruth for one that it has not."""
        for label in labels:
            if label not in self.labels:
                raise InvalidTruth(
                    f"{self.path}: no column for {label!r}. Labels in it: {', '.join(self.labels)}"
                )
        return self.present[:, [self.labels.index(label) for label in labels]]

    def only(self, rows: np.ndarray) -> "Truth":
        """Return it for some of its images, (N,) bool or int64 places."""
        return replace(
            self,
            image_ids=self.image_ids[rows],
            present=self.present[rows],
            patients=self.patients[rows],
        )


def join(
    table: TruthTable,
    gallery: Gallery,
    labels: Sequence[str] | None,
    mode: Mode = "findings",
    *,
    column: str | None = None,
    patient: str | None = None,
    where: str | None = None,
) -> Truth:
    """Return what a table says of a gallery's images about these labels; of all that it names if None.

    Labels and columns are matched without regard to capitals, spaces, hyphens and underscores.
    column: that names the label; by default the column of each label says whether it is there, or of
    exclusive labels the one column whose words are labels.
    patient: a regular expression; what it matches of a path, or its first group, names the patient. By
    default the table's column patient does, else what the gallery knows.
    where: of images that fit this condition only.
    A row's path is the image's uri; if none is, as many leading folders of all paths are left out as make the
    most of them fit. A row stands for all frames of its file, unless it has a cell `frame`.
    Raises InvalidTruth if no row names an image, for words that are no yes and no, with the line, and for
    tables without these labels; InvalidQuery.
    """
    matched, unknown, notes = match(table, gallery, where)
    names, said = said_of(table, labels, mode, column)
    patients, doubt = patients_of(table, gallery, matched, patient)
    if uncertain := count_uncertain(table, names):
        notes = (*notes, f"{uncertain} cells of the table say uncertain (-1) and are left out")
    image_ids, rows = np.array(matched, np.int64).T
    return Truth(table.path, table.digest, image_ids, names, said[rows], patients, unknown, (*notes, *doubt))
