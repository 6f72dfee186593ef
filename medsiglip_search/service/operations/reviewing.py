"""What people say of labels: written down, and made into tables, such as `evaluate` takes."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medsiglip_search.errors import InvalidQuery, NotFound
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.galleries import OpenGallery
from medsiglip_search.service.operations.labelling import FORMULA
from medsiglip_search.service.reviews import (
    Answer,
    Decision,
    Review,
    add_review,
    agreed,
    read_reviews,
)

HEADER = tuple(field.name for field in fields(Review))
WORDS = {True: "1", False: "0", None: "-1"}
"""As a truth table says it; -1 is what nobody counts."""

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def review(
    service: Service,
    caller: Caller,
    name: str,
    *,
    label_set: str,
    label_set_digest: str,
    label: str,
    image_id: int,
    decision: Decision,
    answer: Answer | None,
) -> Review:
    """Write down what the caller says of a label; see `Review`. Raises NotFound, Forbidden, OSError."""
    with service.audit.watch(caller, "review", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        caller.require("labeller")
        _require_image(gallery, image_id)
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        said = Review(
            label_set, label_set_digest, label, image_id, decision, answer, caller.principal.name, when
        )
        entry.details.update(answer=answer, label_set_digest=label_set_digest[:16])
        entry.asked()
        add_review(_folder(service), name, said)
        return said


def reviews(service: Service, caller: Caller, name: str, label_set_digest: str | None = None) -> list[Review]:
    """Return the reviews that count, of one label set or of all. Raises NotFound, Forbidden."""
    with service.audit.watch(caller, "export", name) as entry:
        service.gallery(caller, name)
        caller.require("labeller")
        found = _reviews(service, name, label_set_digest)
        entry.details["rows"] = len(found)
        return found


def reviews_csv(service: Service, caller: Caller, name: str, label_set_digest: str | None = None) -> str:
    """Return the same as CSV."""
    return _csv(HEADER, map(asdict, reviews(service, caller, name, label_set_digest)))


def truth_csv(service: Service, caller: Caller, name: str, label_set_digest: str | None = None) -> str:
    """Return what reviews say as a truth table: a row for each image, a column for each label.

    Raises InvalidQuery for reviews of several label sets, NotFound if there is none, or none of an image that
    is still there, or if the paths that a truth table needs are hidden.
    """
    found = reviews(service, caller, name, label_set_digest)
    if len({one.label_set_digest for one in found}) > 1:
        raise InvalidQuery("there are reviews of several label sets; say which by label_set_digest")
    if {"uri", "frame"} & service.settings.hidden:
        raise NotFound("a truth table names images by their paths, which this service does not tell")
    opened = service.gallery(caller, name).view.gallery
    said = agreed(found)
    there = set(opened.select(None).tolist())
    image_ids = [image_id for image_id in sorted(said) if image_id in there]
    if not image_ids:
        raise NotFound("there is no review to make a truth table of; review some labels first")
    labels = list(dict.fromkeys(one.label for one in found))
    rows = (
        {
            "path": image.uri,
            "frame": image.frame,
            **{label: WORDS[present] for label, present in said[image.image_id].items()},
        }
        for image in opened.instances(image_ids)
    )
    return _csv(("path", "frame", *labels), rows)


def _reviews(service: Service, name: str, label_set_digest: str | None) -> list[Review]:
    found = read_reviews(_folder(service), name)
    return [one for one in found if label_set_digest in (None, one.label_set_digest)]


def _folder(service: Service) -> Path:
    return service.settings.state / "reviews"


def _require_image(gallery: OpenGallery, image_id: int) -> None:
    try:
        gallery.view.gallery.instances([image_id])
    except InvalidQuery:
        raise NotFound("there is no such image in this gallery; take an image_id from a label run") from None


def _csv(header: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(map(_cell, header))
    table.writerows([_cell(row.get(column, "")) for column in header] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    """Return a cell that no spreadsheet program takes for a formula: people write labels and names."""
    if isinstance(value, str) and value.startswith(FORMULA) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value
