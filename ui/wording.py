"""Questions and values in a few words, for trails, chips and filters."""

import re
from dataclasses import dataclass
from typing import Any

from medsiglip_search.records import Value
from medsiglip_search.service.asking import Asked

MOST_LETTERS = 40
"""Of a question in a trail."""

MOST_VALUES = 3
"""So many values of a filter are named; of more their count."""

_SAME_PATIENT = re.compile(r"more images of the same patient, left out: (\d+)")

TITLES = {"view_position": "view", "body_part": "body part", "image_id": "image"}


@dataclass(frozen=True, slots=True)
class Chip:
    """A part of a question that can be taken away. column, value: as `refining.refined` takes them.

    image_id: of the picture that stands for it.
    """

    words: str
    column: str
    value: Any = None
    image_id: int | None = None


def title(column: str) -> str:
    """Return how people call a column."""
    return TITLES.get(column, column.replace("_", " "))


def told(value: Value) -> str:
    """Return one value of a column."""
    if value is None or value == "":
        return "not known"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def words_of(asked: Asked) -> str:
    """Return a question in a few words."""
    parts = []
    if asked.text:
        parts.append(shortened(" ".join(asked.text.split()), MOST_LETTERS))
    if asked.images:
        parts.append("a picture" if len(asked.images) == 1 else f"{len(asked.images)} pictures")
    if asked.like:
        told_like = "like" if parts else "similar to"
        parts.append(f"{told_like} {_images(asked.like)}")
    if asked.study is not None:
        parts.append("cases like a study")
    if asked.unlike:
        parts.append(f"not like {_images(asked.unlike)}")
    if asked.without:
        parts.append(f"without {shortened(', '.join(asked.without), MOST_LETTERS)}")
    return ", ".join(parts) or "by filters"


def chips_of(asked: Asked) -> list[Chip]:
    """Return what narrows a question or adds to its words."""
    chips = [Chip(f"like image {one}", "like", one, one) for one in asked.like]
    chips += [Chip(f"not like image {one}", "unlike", one, one) for one in asked.unlike]
    chips += [Chip(f"without {shortened(one, MOST_LETTERS)}", "without", one) for one in asked.without]
    if asked.study is not None:
        chips.append(Chip("cases like a study", "study"))
    if asked.parts:
        chips.append(Chip(f"{len(asked.parts)} weighted parts", "parts"))
    chips += [Chip(_filter(column, cells), column, "filter") for column, cells in asked.filters.items()]
    if asked.where and asked.where.strip():
        chips.append(Chip(f"where {shortened(asked.where.strip(), 60)}", "where"))
    if asked.group_by is not None:
        chips.append(Chip(f"one hit for each {asked.group_by}", "group_by"))
    if asked.other_patients is not None:
        chips.append(
            Chip("other patients only" if asked.other_patients else "same patient too", "other_patients")
        )
    if asked.min_relevance is not None:
        chips.append(Chip(f"relevance from {asked.min_relevance:g} on", "min_relevance"))
    if asked.as_case:
        chips.append(Chip("the pictures are one case", "as_case"))
    return chips


def note_words(note: str) -> str:
    """Return a note of a result as a sentence for people."""
    if found := _SAME_PATIENT.fullmatch(note):
        count = int(found.group(1))
        images = "image of the same patient is" if count == 1 else "images of the same patient are"
        them = "it" if count == 1 else "them"
        return f"{count:,} more {images} not shown; the options under the box can show {them}."
    return f"{note[:1].upper()}{note[1:]}."


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many letters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _filter(column: str, cells: tuple[Value, ...]) -> str:
    if column == "image_id":
        return "1 chosen image" if len(cells) == 1 else f"{len(cells):,} chosen images"
    if len(cells) > MOST_VALUES:
        return f"{title(column)}: {len(cells)} values"
    return f"{title(column)}: {' or '.join(map(told, cells))}"


def _images(image_ids: tuple[int, ...]) -> str:
    if len(image_ids) == 1:
        return f"image {image_ids[0]}"
    return (
        f"{len(image_ids)} images"
        if len(image_ids) > MOST_VALUES
        else "images " + ", ".join(map(str, image_ids))
    )
