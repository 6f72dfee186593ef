import numpy as np
import pytest

from medsiglip_search.demo.figures import precision_at_k

SCORES = np.array([[0.9, 0.8, 0.7, 0.6]])


def test_precision_counts_the_relevant_among_the_first_k():
    relevant = np.array([[True, False, True, True]])
    assert precision_at_k(SCORES, relevant, k=2).tolist() == [0.5]
    assert precision_at_k(SCORES, relevant, k=3).tolist() == [pytest.approx(2 / 3)]


def test_with_fewer_relevant_images_than_k_only_that_many_hits_count():
    assert precision_at_k(SCORES, np.array([[True, False, False, False]]), k=3).tolist() == [1.0]
    assert precision_at_k(SCORES, np.array([[False, False, False, True]]), k=3).tolist() == [0.0]


def test_an_image_that_is_not_allowed_is_neither_hit_nor_relevant():
    relevant = np.array([[True, True, False, False]])
    allowed = np.array([[False, True, True, True]])
    assert precision_at_k(SCORES, relevant, k=2, allowed=allowed).tolist() == [1.0]


def test_a_query_without_a_relevant_image_has_no_precision():
    assert np.isnan(precision_at_k(SCORES, np.zeros((1, 4), bool), k=2)).all()


def test_ties_break_by_column():
    scores = np.zeros((1, 3))
    assert precision_at_k(scores, np.array([[True, False, False]]), k=1).tolist() == [1.0]
    assert precision_at_k(scores, np.array([[False, False, True]]), k=1).tolist() == [0.0]
