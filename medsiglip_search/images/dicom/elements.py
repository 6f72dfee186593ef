"""Single elements of a dataset, read without trusting them."""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue


def value(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value, None where it is absent or damaged."""
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom raises anything on a damaged element
        return None


def text(dataset: Dataset, keyword: str) -> str | None:
    """Return an element's first value as text, None where it is empty."""
    words = texts(dataset, keyword)
    return words[0] or None if words else None


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Return all values of an element as text."""
    return [str(part).strip(" \0") for part in _parts(dataset, keyword)]


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers, none where any of them is missing or not finite."""
    try:
        found = [float(part) for part in _parts(dataset, keyword)]
    except (TypeError, ValueError):
        return []
    return found if all(np.isfinite(found)) else []


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


def _parts(dataset: Dataset, keyword: str) -> list[Any]:
    found = value(dataset, keyword)
    if found is None or found == "":
        return []
    return list(found) if isinstance(found, MultiValue) else [found]
