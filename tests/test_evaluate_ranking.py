"""Metrics of rankings, against trec_eval's by way of ir_measures."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, P, Qrel, R, ScoredDoc, nDCG

from medsiglip_search.evaluate import ranking

EQUAL = {"rel": 0, "abs": 1e-9}


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores that float32 holds exactly, with many ties, and what is relevant."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 60))
    scores = (random.integers(-8, 9, count) / 8).astype(np.float32)
    if seed % 3 == 0:
        scores = random.standard_normal(count).astype(np.float32)
    relevant = random.random(count) < random.uniform(0, 0.6)
    relevant[random.integers(count)] = True
    return scores, relevant


def document(place: int) -> str:
    # Of equal scores trec_eval takes the later name first: name them so that its order is ours.
    return f"{99_999 - place:05d}"


def by_trec_eval(scores: np.ndarray, relevant: np.ndarray, *measures: ir_measures.Measure) -> list[float]:
    qrels = [Qrel("q", document(place), int(shows)) for place, shows in enumerate(relevant)]
    run = [ScoredDoc("q", document(place), float(score)) for place, score in enumerate(scores)]
    figures = ir_measures.calc_aggregate(measures, qrels, run)
    return [figures[measure] for measure in measures]


def ranks(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    return ranking.ranks_of(relevant[ranking.order_of(scores)])


def test_the_figures_are_those_of_trec_eval_with_ties() -> None:
    for seed in range(400):
        scores, relevant = case(seed)
        own = ranks(scores, relevant)
        figures = [
            ranking.precision_at(own, 1),
            ranking.precision_at(own, 10),
            ranking.recall_at(own, 10),
            ranking.average_precision(own),
            ranking.ndcg(own),
            ranking.ndcg(own, 10),
        ]
        expected = by_trec_eval(scores, relevant, P @ 1, P @ 10, R @ 10, AP, nDCG, nDCG @ 10)
        assert figures == pytest.approx(expected, **EQUAL), seed


def test_of_equal_scores_the_first_image_comes_first() -> None:
    scores = np.array([0.0, 1.0, -0.0, 1.0, -1.0, 0.0], np.float32)
    assert ranking.order_of(scores).tolist() == [1, 3, 0, 2, 5, 4]


def test_any_scores_are_ordered_as_a_stable_sort_orders_them() -> None:
    random = np.random.default_rng(0)
    for scale in (1e-40, 1e-3, 1, 1e30):
        scores = (random.standard_normal(5000) * scale).astype(np.float32)
        scores[::7] = scores[0]
        assert ranking.order_of(scores).tolist() == np.argsort(-scores, kind="stable").tolist()


def test_without_anything_relevant_only_precision_is_said() -> None:
    none = np.array([], np.int64)
    assert ranking.precision_at(none, 10) == 0
    assert np.isnan([ranking.recall_at(none, 10), ranking.average_precision(none), ranking.ndcg(none)]).all()


def test_an_image_that_is_drawn_twice_is_found_twice() -> None:
    random = np.random.default_rng(3)
    for seed in range(100):
        scores, relevant = case(seed)
        copies = random.integers(0, 4, (len(scores), 5)).astype(np.float64)
        copies[:, 0] = 1
        order = ranking.order_of(scores)
        drawn = ranking.ranks_of_copies(order, relevant, copies)
        assert len(drawn) == 5
        for times, own in zip(copies.T.astype(int), drawn, strict=True):
            expected = ranks(np.repeat(scores, times), np.repeat(relevant, times))
            assert own.tolist() == expected.tolist()


def test_images_that_are_left_out_of_an_order_take_no_rank() -> None:
    order, relevant = np.array([3, 0, 2]), np.array([False, True, True, False])
    (own,) = ranking.ranks_of_copies(order, relevant, np.array([[2.0], [1], [1], [1]]))
    assert own.tolist() == [4]
