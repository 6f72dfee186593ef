"""Search against a truth: who is asked, who may answer, and what trec_eval says of it."""

from typing import Any

import ir_measures
import numpy as np
import pytest
from galleries import unit
from ir_measures import AP, P, Qrel, R, ScoredDoc, nDCG
from truths import truth

from medsiglip_search.evaluate import retrieval
from medsiglip_search.evaluate.resampling import Bootstrap
from medsiglip_search.evaluate.retrieval import Retrieval
from medsiglip_search.truth import Truth

EQUAL = {"rel": 0, "abs": 1e-9}
LABELS = ("effusion", "nodule")


def rows(count: int = 60, seed: int = 2) -> np.ndarray:
    """Return (N, 3) float16 embeddings some of which are alike."""
    random = np.random.default_rng(seed)
    embeddings = unit(random.integers(-2, 3, (count, 3)) + 0.1)
    return embeddings.astype(np.float16)


def random_truth(count: int = 60) -> Truth:
    random = np.random.default_rng(8)
    present = (random.random((count, 2)) < (0.2, 0.5)).astype(np.int8)
    present[random.random((count, 2)) < 0.1] = -1
    return truth(present, LABELS, np.arange(count) // 3)


def scores_of(queries: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Return the scores, such that nothing is left to the order of a sum."""
    import torch

    product = torch.from_numpy(queries.astype(np.float32)) @ torch.from_numpy(embeddings.astype(np.float32)).T
    return product.numpy()


def by_trec_eval(scores: np.ndarray, shown: np.ndarray, asked: np.ndarray) -> list[float]:
    """Return P@5, R@5, AP and nDCG of the images that are asked, (N,) bool."""
    names = {place: f"{9999 - place:04d}" for place in np.flatnonzero(asked)}
    qrels = [Qrel("q", name, int(shown[place] == 1)) for place, name in names.items()]
    run = [ScoredDoc("q", name, float(scores[place])) for place, name in names.items()]
    measures = (P @ 5, R @ 5, AP, nDCG)
    figures = ir_measures.calc_aggregate(measures, qrels, run)
    return [figures[measure] for measure in measures]


def figures(found: Retrieval, finding: int = 0) -> list[float]:
    return [estimate.value for estimate in found.findings[finding].figures.values()]


def by_image(
    embeddings: Any, of: Truth, resamples: int = 0, queries: Any = None, top_k: int = 5
) -> Retrieval:
    asked = retrieval.sample_queries(of, 1000, 0) if queries is None else np.asarray(queries)
    embeddings = np.asarray(embeddings, np.float16)
    return retrieval.by_image(embeddings, of, asked, Bootstrap(of.patients, resamples), top_k)


def test_search_by_image_is_as_trec_eval_says_without_the_querys_patient() -> None:
    embeddings, of = rows(), random_truth()
    scores = scores_of(embeddings, embeddings)
    found = by_image(embeddings, of)
    for finding in range(2):
        shown = of.present[:, finding]
        expected = [
            by_trec_eval(scores[place], shown, (of.patients != of.patients[place]) & (shown >= 0))
            for place in np.flatnonzero(shown == 1)
        ]
        assert figures(found, finding) == pytest.approx(np.mean(expected, axis=0).tolist(), **EQUAL)
        assert (found.findings[finding].queries, found.findings[finding].without) == (len(expected), 0)
    macro = [estimate.value for estimate in found.macro.values()]
    assert macro == pytest.approx(np.mean([figures(found, 0), figures(found, 1)], axis=0).tolist())


def test_search_by_words_is_as_trec_eval_says() -> None:
    embeddings, of = rows(), random_truth()
    words = unit([[1, 0.2, 0], [0, 1, -1]])
    scores = scores_of(embeddings, words)
    found = retrieval.by_text(embeddings, words, of, Bootstrap(of.patients, 0), 5)
    for finding in range(2):
        shown = of.present[:, finding]
        expected = by_trec_eval(scores[:, finding], shown, shown >= 0)
        assert figures(found, finding) == pytest.approx(expected, **EQUAL)


def test_an_image_does_not_find_those_of_its_own_patient() -> None:
    embeddings = [[1, 0], [1, 0], [0.8, 0.6], [0, 1]]
    shows = [[1], [1], [0], [1]]
    of = truth(shows, ("a",), [0, 0, 1, 2])
    # Images 0 and 1 find 3 after 2, image 3 finds 0 and 1 after 2.
    precision, recall, average_precision, _ = figures(by_image(embeddings, of, top_k=2))
    assert precision == pytest.approx(np.mean([1 / 2, 1 / 2, 1 / 2]))
    assert recall == pytest.approx(np.mean([1, 1, 1 / 2]))
    assert average_precision == pytest.approx(np.mean([1 / 2, 1 / 2, (1 / 2 + 2 / 3) / 2]))


def test_a_query_with_nothing_to_find_is_counted_and_left_out() -> None:
    of = truth([[1, 1], [1, 0], [0, 0]], LABELS, [0, 1, 2])
    found = by_image([[1, 0], [1, 0], [0, 1]], of, resamples=5)
    first, second = found.findings
    assert (first.queries, first.without, first.relevant) == (2, 0, 2)
    assert (second.queries, second.without, second.relevant) == (0, 1, 1)
    assert np.isnan(figures(found, 1)).all()
    assert found.macro["average_precision"].value == 1


def test_intervals_of_search_by_image_draw_the_querys_patients() -> None:
    embeddings, of = rows(), random_truth()
    (weights,) = Bootstrap(of.patients, 30).weights()
    found = by_image(embeddings, of, resamples=30)
    places = np.flatnonzero(of.present[:, 0] == 1)
    single = [figures(by_image(embeddings, of, queries=[place]))[2] for place in places]
    expected = [np.average(single, weights=weight) for weight in weights[places].T[1:]]
    samples = found.findings[0].figures["average_precision"].samples
    assert samples == pytest.approx(expected, **EQUAL)


def test_intervals_of_search_by_words_draw_the_images() -> None:
    embeddings, of = rows(30), random_truth(30)
    words = unit([[1, 0.2, 0], [0, 1, -1]])
    bootstrap = Bootstrap(of.patients, 20)
    found = retrieval.by_text(embeddings, words, of, bootstrap, 5)
    (weights,) = bootstrap.weights()
    for resample, weight in enumerate(weights.T[1:].astype(int)):
        drawn = np.repeat(np.arange(30), weight)
        shown = of.present[drawn, 0]
        expected = by_trec_eval(scores_of(embeddings[drawn], words)[:, 0], shown, shown >= 0)
        own = [estimate.samples[resample] for estimate in found.findings[0].figures.values()]
        assert own == pytest.approx(expected, **EQUAL)


def test_queries_are_all_images_with_a_finding_or_the_same_sample_again() -> None:
    of = random_truth()
    every = np.flatnonzero((of.present == 1).any(axis=1))
    assert retrieval.sample_queries(of, len(every), 0).tolist() == every.tolist()
    sample = retrieval.sample_queries(of, 10, 3)
    assert len(set(sample.tolist())) == 10
    assert set(sample.tolist()) < set(every.tolist())
    assert sample.tolist() == sorted(sample.tolist()) == retrieval.sample_queries(of, 10, 3).tolist()
    assert sample.tolist() != retrieval.sample_queries(of, 10, 4).tolist()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is alike here: how a sum is split decides between scores that differ by its rounding alone.
    embeddings, of = unit(np.random.default_rng(1).standard_normal((60, 3))), random_truth()
    words = unit([[1, 0.2, 0], [0, 1, -1]])
    whole = figures(by_image(embeddings, of))
    texts = figures(retrieval.by_text(embeddings, words, of, Bootstrap(of.patients, 0), 5))
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", 4 * 3 * 7)
    assert figures(by_image(embeddings, of)) == pytest.approx(whole, abs=1e-9)
    blocked = retrieval.by_text(embeddings, words, of, Bootstrap(of.patients, 0), 5)
    assert figures(blocked) == pytest.approx(texts, abs=1e-9)
