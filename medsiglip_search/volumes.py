"""Slices in the order in which they lie in the body."""

import math
import re
from collections.abc import Iterable

from medsiglip_search.records import Instance


def sorted_slices(instances: Iterable[Instance]) -> list[Instance]:
    """Return the frames of one series by position, then by name and frame number; those without one last.

    The position along the slice normal is geometry (PS3.3 C.7.6.2.1.1); Instance Number, which writers fill
    as they like, is not looked at. Names are in natural order: "2.dcm" before "10.dcm".
    """
    return sorted(instances, key=_order)


def _order(instance: Instance) -> tuple:
    position = instance.attributes.position_mm
    if position is None:
        position = math.inf
    return position, instance.archive, _natural(instance.uri), instance.frame


def _natural(name: str) -> tuple:
    """Return a key in which numbers count by value; the name itself tells "1" from "01"."""
    texts_and_numbers = re.split("([0-9]+)", name)
    # By length and digits: int() refuses what is very long.
    numbers = [(len(number), number) for number in (part.lstrip("0") for part in texts_and_numbers[1::2])]
    return texts_and_numbers[0], tuple(zip(numbers, texts_and_numbers[2::2], strict=True)), name
