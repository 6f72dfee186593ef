"""Single elements of a dataset, read without trusting them."""

import math
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

_TEXT_VRS = frozenset(("AE", "CS", "DA", "DS", "IS", "LO", "SH", "UI"))
"""Value representations of short text, whose parts a backslash divides."""


def value(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value, None where it is absent or damaged."""
    tag = _tag(keyword)
    # Most questions are about what a file does not have; pydicom answers those by an exception.
    if tag not in dataset.keys():  # noqa: SIM118 - the dataset's own `in` looks the keyword up anew
        return None
    try:
        return dataset[tag].value
    except Exception:  # pydicom raises anything on a damaged element
        return None


def text(dataset: Dataset, keyword: str) -> str | None:
    """Return an element's first value as text, None where it is empty."""
    words = texts(dataset, keyword)
    return words[0] or None if words else None


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Return all values of an element as text."""
    plain = _plain_words(dataset, keyword)
    return [str(part).strip(" \0") for part in (_parts(dataset, keyword) if plain is None else plain)]


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers, none where any of them is missing or not finite."""
    plain = _plain_words(dataset, keyword)
    try:
        found = [float(part) for part in (_parts(dataset, keyword) if plain is None else plain)]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []


def functional_group(dataset: Dataset, frame: int, keyword: str) -> Dataset:
    """Return the frame's item of a functional group, else the one that all frames share, else the dataset.

    keyword: of the group's sequence, such as "FrameVOILUTSequence" (PS3.3 C.7.6.16).
    """
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = value(dataset, groups)
        if items and index < len(items):
            group = value(items[index], keyword)
            if group:
                return group[0]
    return dataset


def is_big_endian(dataset: Dataset) -> bool:
    """Tell in which order the file wrote the words that pydicom hands on as bytes."""
    return dataset.original_encoding[1] is False


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


@cache
def _vr(keyword: str) -> str:
    return dictionary_VR(keyword)


def _plain_words(dataset: Dataset, keyword: str) -> list[str] | None:
    """Return the values of an element that is short text in ASCII, None for any other.

    pydicom builds several objects for each number and name; on small files that would take as long as to
    decode them.
    """
    tag = _tag(keyword)
    if tag not in dataset.keys():  # noqa: SIM118 - as above
        return []
    raw = dataset.get_item(tag)
    if not isinstance(raw, RawDataElement) or (raw.VR or _vr(keyword)) not in _TEXT_VRS:
        return None
    # An escape begins another character set (ISO 2022).
    if not isinstance(raw.value, bytes) or not raw.value.isascii() or b"\x1b" in raw.value:
        return None
    words = raw.value.decode("ascii").strip(" \0")
    return words.split("\\") if words else []


def _parts(dataset: Dataset, keyword: str) -> list[Any]:
    found = value(dataset, keyword)
    if found is None or found == "":
        return []
    return list(found) if isinstance(found, MultiValue) else [found]
