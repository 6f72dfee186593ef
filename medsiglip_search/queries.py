"""What can be asked: the parts of a query, and how its answers are to be chosen. All frozen values."""

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

import numpy as np

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.filters import Cell

QueryImage = str | os.PathLike[str] | bytes | np.ndarray
"""A file, its bytes, or (H, W, 3) uint8 RGB; of a file with several frames the middle one is asked about."""

Region = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the picture as it is shown; x1 and y1 are the first that are not in it."""

GroupBy = Literal["image", "patient", "study", "series"]
"""What a hit stands for."""

Where = str | Mapping[str, Cell | Iterable[Cell]]
"""A condition in SQL, or the values that columns must have."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words. weight: how much they count beside the other parts."""

    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_text(self.text)
        _check_weight(self.weight)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A picture that need not be in the gallery. region: the part of it that is asked about, or all."""

    image: QueryImage
    region: Region | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.image, str | os.PathLike | bytes | np.ndarray):
            raise InvalidQuery(
                f"an image is {_type(self.image)}; give a file's path, its bytes, or uint8 of (H, W, 3)"
            )
        if self.region is not None:
            _check_region(self.region)
        _check_weight(self.weight)


@dataclass(frozen=True, slots=True)
class Like:
    """An image of the gallery."""

    image_id: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        _whole(self.image_id, "an image id")
        _check_weight(self.weight)


@dataclass(frozen=True, slots=True)
class Study:
    """All images of a study of the gallery. study: as the gallery stores it, usually a pseudonym."""

    study: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.study, str):
            raise InvalidQuery(f'the study is {_type(self.study)}; give one as text, such as study="5e0c"')
        _check_weight(self.weight)


Part = Text | Image | Like | Study


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One question.

    text, images, like, study: what to look for, each part with the weight 1. parts: more, with weights.
    Parts are averaged by weight. A study, and `images` if `as_case` says that they are the pictures of one
    case, is not: each of its pictures looks for its own best match in every study of the gallery.
    without: what must not be there. negation: whether to take out of texts what they negate themselves.
    unlike: images of the gallery that hits are not to be like; they are no hits themselves.
    where: which images may be hits.
    group_by: what a hit stands for, by its best image; a study where a case is asked about, else an image.
    other_patients: whether images of the patient asked about are left out; by default where the gallery has
        the patient's image or study in the query.
    min_relevance: hits below it are left out.
    top_k: how many hits. cursor: of the result after which to go on.
    """

    text: str | None = None
    images: Sequence[QueryImage | Image] = ()
    like: Sequence[int] = ()
    study: str | None = None
    parts: Sequence[Part] = ()
    without: Sequence[str] = ()
    unlike: Sequence[int] = ()
    negation: bool = True
    as_case: bool = False
    where: Where | None = None
    group_by: GroupBy | None = None
    other_patients: bool | None = None
    min_relevance: float | None = None
    top_k: int = 10
    cursor: str | None = None

    def __post_init__(self) -> None:
        """Raise InvalidQuery for what cannot be asked."""
        if _whole(self.top_k, "top_k") < 1:
            raise InvalidQuery(f"top_k is {self.top_k}; ask for at least 1 hit")
        if self.group_by is not None and self.group_by not in get_args(GroupBy):
            raise InvalidQuery(f"group_by is {self.group_by!r}; use {', '.join(get_args(GroupBy))}")
        if self.min_relevance is not None and not _is_number(self.min_relevance):
            raise InvalidQuery(f"min_relevance is {self.min_relevance!r}; give a number, such as 3")
        if self.cursor is not None and not isinstance(self.cursor, str):
            raise InvalidQuery(
                f"cursor is {_type(self.cursor)}; give the text that the page before has for it"
            )
        if not (self.where is None or isinstance(self.where, str | Mapping)):
            raise InvalidQuery(
                f"""where is {_type(self.where)}; give a condition, such as "modality = 'CR'", or the """
                """values of columns, such as {"modality": "CR"}"""
            )
        for name, example in _LISTS.items():
            _check_list(name, getattr(self, name), example)
        for part in self.parts:
            if not isinstance(part, Part):
                raise InvalidQuery(f"a part is {_type(part)}; give Text, Image, Like or Study")
        for absent in self.without:
            _check_text(absent)
        for image_id in self.unlike:
            if _whole(image_id, "an image id") in self.like:
                raise InvalidQuery(f"image {image_id} is in like and in unlike; leave it out of one of them")
        if not self.all_parts() and not self.without and not self.unlike:
            raise InvalidQuery("nothing to look for; give a text, an image, or the id of a stored image")

    def all_parts(self) -> list[Part]:
        """Return what to look for, part by part. Raises InvalidQuery."""
        return [
            *([] if self.text is None else [Text(self.text)]),
            *(image if isinstance(image, Image) else Image(image) for image in self.images),
            *(Like(_whole(image_id, "an image id")) for image_id in self.like),
            *([] if self.study is None else [Study(self.study)]),
            *self.parts,
        ]


_LISTS = {
    "images": '"case.dcm"',
    "like": "181",
    "parts": 'Text("effusion")',
    "without": '"effusion"',
    "unlike": "181",
}
"""The fields of a query that are lists, and what may stand in each."""


def _check_list(name: str, values: object, example: str) -> None:
    # An array of three dimensions is one picture, and text and bytes are sequences, too.
    is_list = isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray | memoryview)
    if not is_list and not (isinstance(values, np.ndarray) and values.ndim in (1, 4)):
        told = f"an array of shape {values.shape}" if isinstance(values, np.ndarray) else _type(values)
        raise InvalidQuery(f"{name} is {told}; give a list, such as {name}=[{example}]")


def _whole(number: int, name: str) -> int:
    try:
        if isinstance(number, bool):
            raise TypeError(number)
        return operator.index(number)
    except TypeError:
        raise InvalidQuery(f"{name} is {number!r}; give a whole number") from None


def _type(value: object) -> str:
    """Return what kind of thing this is: the thing itself may be a whole file, or name a patient."""
    return f"of type {type(value).__name__}"


def _is_number(number: object) -> bool:
    """Tell whether it is one, and finite."""
    return isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)


def _check_region(region: Region) -> None:
    try:
        _x0, _y0, _x1, _y1 = map(operator.index, region)
    except (TypeError, ValueError):
        raise InvalidQuery(f"region {region!r}; give x0, y0, x1, y1 in whole pixels") from None


def _check_weight(weight: float) -> None:
    if not _is_number(weight):
        raise InvalidQuery(f"a weight is {weight!r}; give a number, such as 2")
    if weight <= 0:
        raise InvalidQuery(
            f"a weight is {weight}; give one above 0, or name what must not be there with `without`"
        )


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise InvalidQuery(f"a text is {_type(text)}; give a str")
    if not text.strip():
        raise InvalidQuery("the text is empty; say what to look for")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidQuery("the text is not UTF-8; write it in UTF-8")
