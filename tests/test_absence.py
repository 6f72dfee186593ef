import numpy as np
import pytest
from galleries import unit

from medsiglip_search.querying.absence import ABSENT_WEIGHT, kind_of, present_minus_absent

A, B = np.eye(3)[:2]
ACROSS = np.array([[1, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0.0]])
"""Scores of A spread by 1 / sqrt 2, those of B by sqrt 2, and neither foretells the other."""


def test_each_side_counts_in_units_of_its_own_spread():
    query = present_minus_absent(A, [B], ACROSS)
    assert query == pytest.approx([2**0.5, -ABSENT_WEIGHT / 2**0.5, 0])


def test_several_absent_things_do_not_outweigh_what_is_present():
    query = present_minus_absent(A, [B, B], ACROSS)
    assert query == pytest.approx([2**0.5, -(2**0.5) * ABSENT_WEIGHT / 2**0.5, 0])


def test_what_the_absent_has_in_common_with_the_present_does_not_count_against_it():
    # All that is known of B here is that it rises with A: nothing of it is left to be absent.
    sample = np.array([[1, 0.5, 0], [-1, -0.5, 0], [3, 1.5, 0]])
    query = present_minus_absent(A, [B], sample)
    assert sample @ query == pytest.approx(sample @ A / (sample @ A).std())


def test_an_absent_thing_that_goes_against_the_present_is_simply_subtracted():
    sample = np.array([[1, -1, 0], [-1, 1, 0.0]])
    assert present_minus_absent(A, [B], sample) == pytest.approx([1, -ABSENT_WEIGHT, 0])


@pytest.mark.parametrize("sample", [np.empty((0, 3)), np.ones((1, 3))])
def test_without_a_background_the_plain_difference_is_left(sample):
    assert present_minus_absent(A, [B], sample) == pytest.approx([1, -ABSENT_WEIGHT, 0])


def test_the_kind_is_the_modality_in_which_the_absent_would_be_seen():
    sample = unit([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], *[[1, 0, 9]] * 36])
    kinds = np.array(["CR", "CR", *["CT"] * 38])
    assert kind_of([B], sample, kinds) == "CR"
    assert kind_of([np.eye(3)[2]], sample, kinds) == "CT"
    assert kind_of([B], sample[:1], kinds[:1]) == "CR"
