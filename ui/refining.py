"""From one question to the next: what the buttons on hits, filters and chips change in it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.service.asking import Asked

NOT_SET: Mapping[str, Any] = {
    "where": None,
    "group_by": None,
    "as_case": False,
    "other_patients": None,
    "min_relevance": None,
    "study": None,
    "parts": (),
}
"""What can be set only once, and its value where it is not."""


def refined(asked: Asked, act: Mapping[str, Any]) -> Asked:
    """Return what is asked after something was pressed, as `search.js` tells it. Raises InvalidQuery."""
    value = act.get("value")
    match act.get("do"):
        case "similar":
            return replace(_options(asked), like=(_image_id(value),))
        case "more":
            image_id = _image_id(value)
            return replace(asked, like=_with(asked.like, image_id), unlike=_less(asked.unlike, image_id))
        case "less":
            image_id = _image_id(value)
            return replace(asked, unlike=_with(asked.unlike, image_id), like=_less(asked.like, image_id))
        case "example":
            return replace(_options(asked), text=str(value))
        case "filter":
            column, cells = str(act.get("column")), asked.filters.get(str(act.get("column")), ())
            return _filtered(asked, column, _less(cells, value) if value in cells else (*cells, value))
        case "remove":
            return _without(asked, str(act.get("column")), value)
        case "clear":
            return Asked(text=asked.text, images=asked.images, top_k=asked.top_k)
    raise InvalidQuery("the page asks for something that there is not; load it again")


def _without(asked: Asked, what: str, value: Any) -> Asked:
    """Return what is asked without one of its parts."""
    match what:
        case "like":
            return replace(asked, like=_less(asked.like, value))
        case "unlike":
            return replace(asked, unlike=_less(asked.unlike, value))
        case "without":
            return replace(asked, without=_less(asked.without, value))
    if what in asked.filters and value == "filter":
        return _filtered(asked, what, ())
    if what in NOT_SET:
        return replace(asked, **{what: NOT_SET[what]})
    return asked  # pressed twice


def _options(asked: Asked) -> Asked:
    """Return filters and options with nothing to look for."""
    return replace(
        asked, text=None, images=(), like=(), unlike=(), without=(), study=None, parts=(), as_case=False
    )


def _filtered(asked: Asked, column: str, cells: tuple[Any, ...]) -> Asked:
    others = {name: values for name, values in asked.filters.items() if name != column}
    return replace(asked, filters={**others, **({column: cells} if cells else {})})


def _image_id(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidQuery("the page names an image that there is not; load it again")


def _with(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    return values if value in values else (*values, value)


def _less(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    return tuple(one for one in values if one != value)
