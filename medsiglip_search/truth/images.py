"""Which images of a gallery the rows of a table are about."""

import posixpath
from collections.abc import Mapping, Sequence

from medsiglip_search.errors import InvalidTruth
from medsiglip_search.gallery import Gallery
from medsiglip_search.identifiers import identifiers_for
from medsiglip_search.records import Attributes
from medsiglip_search.truth.table import TruthTable, listed


def match(
    table: TruthTable, gallery: Gallery, where: str | None
) -> tuple[list[tuple[int, int]], tuple[str, ...], tuple[str, ...]]:
    """Return image_ids, ascending, each with its row's number; the rows without image; what to say of them.

    where: of images that fit this condition only. Raises InvalidTruth if none is left; InvalidQuery.
    """
    by_path = "path" in table.columns and any(table.cells("path"))
    stored = _images_by(gallery, "uri" if by_path else "instance")
    notes = []
    keys: list[str] = []
    if by_path:
        paths = [posixpath.normpath(path.replace("\\", "/")) for path in table.cells("path")]
        keys, dropped = _without_leading_folders(paths, stored)
        if dropped:
            notes.append(f"of each path in the table the first {dropped} folders are left out")
    else:
        identifiers = identifiers_for(gallery)
        keys = [
            str(identifiers.attributes(Attributes(instance=uid)).instance) for uid in table.cells("instance")
        ]
        if gallery.meta.identifiers == "drop":
            raise InvalidTruth(f"{table.path}: the gallery stores no instances; join by a column path")
    allowed = None if where is None else set(gallery.select(where).tolist())
    found: dict[int, int] = {}
    unknown = []
    for number, (row, key) in enumerate(zip(table.rows, keys, strict=True)):
        images = stored.get(key, ())
        if frame := row.cells.get("frame"):
            images = [image for image in images if str(image[1]) == frame.removesuffix(".0")]
        if not images:
            of_frame = f" frame {frame}" if frame else ""
            unknown.append((row.cells.get("path") or row.cells.get("instance") or "") + of_frame)
        for image_id, *_ in images:
            if allowed is not None and image_id not in allowed:
                continue
            if image_id in found:
                first = table.rows[found[image_id]].line
                raise InvalidTruth(
                    f"{table.path}, line {row.line}: names the image of line {first} again; join the two"
                )
            found[image_id] = number
    if not found and len(unknown) < len(table.rows):
        raise InvalidTruth(f"{table.path}: no image that it names fits the filter; change it or leave it out")
    if not found:
        having = next(iter(stored), "nothing")
        raise InvalidTruth(
            f"{table.path}: no row names an image of {gallery.path}. The table has {unknown[0]!r}, the "
            f"gallery {having!r}; write paths as `search --json` tells them, and frames counted from 0"
        )
    if by_path and any(len({archive for *_, archive in stored.get(key, ())}) > 1 for key in keys):
        notes.append("several archives have files of the same path; a row stands for those of all")
    if 2 * len(unknown) > len(table.rows):
        notes.append("most of the table is about other images: is it the one of this gallery?")
    if unknown:
        notes.append(
            f"{len(unknown)} of {len(table.rows)} rows name no image of the gallery: {listed(unknown)}"
        )
    return sorted(found.items()), tuple(unknown), tuple(notes)


def _images_by(gallery: Gallery, column: str) -> dict[str, list[tuple[int, int, str]]]:
    """Return image_ids, frames and archives of the gallery by what a column says of them."""
    stored: dict[str, list[tuple[int, int, str]]] = {}
    ids = iter(gallery.select(None).tolist())
    for cells, frames, archives in gallery.cell_batches(column, "frame", "archive"):
        for cell, frame, archive in zip(cells, frames, archives, strict=True):
            stored.setdefault(str(cell), []).append((next(ids), int(frame or 0), str(archive)))
    return stored


def _without_leading_folders(paths: Sequence[str], stored: Mapping[str, object]) -> tuple[list[str], int]:
    """Return the paths less as many leading folders as make the most of them known, and how many.

    None, if that is as good.
    """

    def known(depth: int) -> int:
        return sum(_less(path, depth) in stored for path in paths)

    deepest = max(path.count("/") for path in paths)
    every = known(0) == len(paths)
    dropped = 0 if every else max(range(deepest + 1), key=known)
    return [_less(path, dropped) for path in paths], dropped


def _less(path: str, folders: int) -> str:
    return path.split("/", folders)[-1] if path.count("/") >= folders else path
