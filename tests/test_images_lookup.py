"""Segmented palettes: the entries that the standard's three kinds of segments stand for."""

import numpy as np
import pytest
from work import at_most

from medsiglip_search.images.lookup import read_segments

DISCRETE, LINEAR, INDIRECT = range(3)


def packed(numbers: list[int], bits: int, big_endian: bool) -> bytes:
    """Return the numbers as the words of an element: of 8 bits, the first of two in the low byte."""
    words = np.array(numbers, "<u2") if bits == 16 else np.array(numbers, np.uint8).view("<u2")
    return words.astype(">u2" if big_endian else "<u2").tobytes()


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
class TestReading:
    def test_discrete_and_linear_segments_follow_one_another(self, bits: int, big_endian: bool) -> None:
        # One discrete entry, a line of 4 up to 100, two discrete ones, a line of 2 down to 50.
        numbers = [DISCRETE, 1, 20, LINEAR, 4, 100, DISCRETE, 2, 7, 90, LINEAR, 2, 50, 0]
        data = packed(numbers, bits, big_endian)
        expected = [20, 40, 60, 80, 100, 7, 90, 70, 50]
        assert read_segments(data, 9, bits, big_endian).tolist() == expected
        assert read_segments(data, 9, bits, big_endian).dtype == (np.uint8 if bits == 8 else np.uint16)

    def test_an_indirect_segment_repeats_others_from_where_the_entries_are_now(
        self, bits: int, big_endian: bool
    ) -> None:
        # The offset is in bytes, lowest word first: the line at number 3.
        offset = [3, 0, 0, 0] if bits == 8 else [6, 0]
        numbers = [DISCRETE, 1, 0, LINEAR, 2, 10, DISCRETE, 1, 50, INDIRECT, 2, *offset]
        numbers += [0] * (len(numbers) % 2)
        data = packed(numbers, bits, big_endian)
        # Two segments again: a line from 50 to 10, and a 50.
        assert read_segments(data, 7, bits, big_endian).tolist() == [0, 5, 10, 50, 30, 10, 50]


def test_an_indirect_offset_beyond_one_byte_is_whole() -> None:
    numbers = [DISCRETE, 254, *[1] * 254, DISCRETE, 100, *[2] * 100, DISCRETE, 2, 5, 6, INDIRECT, 1]
    offset = 256 + 102
    numbers += [offset & 0xFF, offset >> 8, 0, 0]
    got = read_segments(packed(numbers, 8, False), 358, 8, False)
    assert got[-4:].tolist() == [5, 6, 5, 6]


def test_an_indirect_offset_beyond_two_bytes_is_whole() -> None:
    filler = [DISCRETE, 40_000, *[1] * 40_000]
    numbers = [*filler, DISCRETE, 2, 5, 6, INDIRECT, 1, (2 * len(filler)) & 0xFFFF, (2 * len(filler)) >> 16]
    got = read_segments(packed(numbers, 16, False), 40_004, 16, False)
    assert got[-4:].tolist() == [5, 6, 5, 6]


@pytest.mark.parametrize(
    "numbers",
    [
        [DISCRETE, 5, 1, 2],
        [LINEAR, 3, 100],
        [DISCRETE, 0, 1, LINEAR, 9, 3],
        [3, 1, 1, 1],
        [DISCRETE, 1, 1, LINEAR, 3, 9],
        [DISCRETE, 1, 1, INDIRECT, 1, 6, 0, 0],
        [DISCRETE, 1, 1, *[LINEAR, 65535, 9, LINEAR, 65535, 1] * 5000],
        [DISCRETE, 1, 1, LINEAR, 1, 2, *[INDIRECT, 65535, 6, 0] * 5000],
        [DISCRETE, 1, 1, *[DISCRETE, 0] * 20_000, *[INDIRECT, 20_000, 6, 0] * 2000],
    ],
    ids=[
        "short",
        "line_first",
        "no_entries",
        "unknown",
        "too_few",
        "itself",
        "bomb",
        "indirect_bomb",
        "bomb_of_nothing",
    ],
)
def test_damaged_segments_are_refused_at_once(numbers: list[int]) -> None:
    with pytest.raises((ValueError, IndexError)), at_most(calls=1000):
        read_segments(packed(numbers, 16, False), 9, 16, False)
