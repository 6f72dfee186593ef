"""How good search is: what it finds for an image with a finding, and for the words of one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.evaluate import ranking
from medsiglip_search.evaluate.metrics import ratio
from medsiglip_search.evaluate.resampling import Bootstrap, Estimate, mean_of
from medsiglip_search.truth import Truth

FIGURES = {
    "precision_at_k": "share of the first k hits that is relevant",
    "recall_at_k": "share of the relevant images that is among the first k hits",
    "average_precision": "mean of the precisions at each relevant image; its mean is mAP",
    "ndcg": "normalized discounted cumulative gain of all hits, gains of 1",
}
_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class FindingRetrieval:
    """Of one finding. queries: with something relevant to find; without: those with nothing. relevant: images
    that show the finding. figures: by name, see `FIGURES`, means over the queries."""

    finding: str
    queries: int
    without: int
    relevant: int
    figures: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """Of all findings. macro: means over those for which a figure is defined."""

    findings: tuple[FindingRetrieval, ...]
    macro: Mapping[str, Estimate]


def sample_queries(truth: Truth, most: int, seed: int) -> np.ndarray:
    """Return the places of images with a finding, ascending; of more than `most` a sample."""
    places = np.flatnonzero((truth.present == 1).any(axis=1))
    if len(places) <= most:
        return places
    return np.sort(np.random.default_rng(seed).choice(places, most, replace=False))


def by_image(
    embeddings: np.ndarray,
    truth: Truth,
    queries: np.ndarray,
    bootstrap: Bootstrap,
    top_k: int,
) -> Retrieval:
    """Return how well an image finds others with a finding that it shows, among those of other patients.

    embeddings: (N, D) float16 of the truth's images. queries: their places, such as `sample_queries` gives.
    An image whose truth is not known is out of the way for that finding. Intervals: patients are drawn, and
    with them the queries.
    """
    asked: list[list[int]] = [[] for _ in truth.labels]
    found: list[list[list[float]]] = [[] for _ in truth.labels]
    without = [0] * len(truth.labels)
    for place, scores in _scores_of(embeddings, queries):
        order = ranking.order_of(scores)
        order = order[truth.patients[order] != truth.patients[place]]
        for finding in np.flatnonzero(truth.present[place] == 1):
            shown = truth.present[order, finding]
            ranks = ranking.ranks_of(shown[shown >= 0] == 1)
            if len(ranks):
                asked[finding].append(place)
                found[finding].append(_figures(ranks, top_k))
            else:
                without[finding] += 1
    values = _means_over_queries(asked, found, bootstrap)
    return _retrieval(truth, list(map(len, asked)), without, values)


def by_text(
    embeddings: np.ndarray,
    texts: np.ndarray,
    truth: Truth,
    bootstrap: Bootstrap,
    top_k: int,
) -> Retrieval:
    """Return how well the words of each finding find its images.

    texts: (F, D) float32, of the truth's labels in their order. Intervals: patients are drawn, and with them
    the images; one that is drawn twice is found twice.
    """
    scores = np.concatenate([_product(block, texts) for block in _blocks(embeddings)])
    values = np.full((len(truth.labels), len(FIGURES), 1 + bootstrap.resamples), np.nan)
    ordered = []
    for finding, column in enumerate(scores.T):
        order = ranking.order_of(column)
        ordered.append(order[truth.present[order, finding] >= 0])
    start = 0
    for copies in bootstrap.weights():
        for finding, order in enumerate(ordered):
            relevant = truth.present[:, finding] == 1
            for resample, ranks in enumerate(ranking.ranks_of_copies(order, relevant, copies), start):
                if len(ranks):
                    values[finding, :, resample] = _figures(ranks, top_k)
        start += copies.shape[1]
    queries = [int(shows) for shows in (truth.present == 1).any(axis=0)]
    return _retrieval(truth, queries, [1 - query for query in queries], values)


def _figures(ranks: np.ndarray, top_k: int) -> list[float]:
    """Return `FIGURES` of one ranking in which something is relevant."""
    return [
        ranking.precision_at(ranks, top_k),
        ranking.recall_at(ranks, top_k),
        ranking.average_precision(ranks),
        ranking.ndcg(ranks),
    ]


def _means_over_queries(
    asked: Sequence[Sequence[int]], found: Sequence[Sequence[Sequence[float]]], bootstrap: Bootstrap
) -> np.ndarray:
    """Return (F, figures, 1 + R) means of what the queries of each finding found, in each resample."""
    chunks = []
    for weights in bootstrap.weights():
        chunk = np.full((len(asked), len(FIGURES), weights.shape[1]), np.nan)
        for finding, (places, values) in enumerate(zip(asked, found, strict=True)):
            if places:
                own = weights[places]
                chunk[finding] = ratio(
                    np.array(values).T @ own, own.sum(axis=0)[None].repeat(len(FIGURES), 0)
                )
        chunks.append(chunk)
    return np.concatenate(chunks, axis=2)


def _retrieval(truth: Truth, queries: Sequence[int], without: Sequence[int], values: np.ndarray) -> Retrieval:
    findings = tuple(
        FindingRetrieval(
            finding=label,
            queries=queries[place],
            without=without[place],
            relevant=int((truth.present[:, place] == 1).sum()),
            figures={name: Estimate.of(each) for name, each in zip(FIGURES, values[place], strict=True)},
        )
        for place, label in enumerate(truth.labels)
    )
    macro = {name: mean_of([finding.figures[name] for finding in findings]) for name in FIGURES}
    return Retrieval(findings, macro)


def _scores_of(embeddings: np.ndarray, queries: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each query's place and its (N,) float32 scores with all images; 64 MB of them at a time."""
    at_once = max(1, _BLOCK_BYTES // (4 * max(1, len(embeddings))))
    for start in range(0, len(queries), at_once):
        places = queries[start : start + at_once]
        asked = embeddings[places].astype(np.float32)
        scores = np.concatenate([_product(asked, block) for block in _blocks(embeddings)], axis=1)
        yield from zip(places.tolist(), scores, strict=True)


def _blocks(embeddings: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (N, D) embeddings as float32, 64 MB at a time."""
    rows = max(1, _BLOCK_BYTES // (4 * embeddings.shape[1]))
    for start in range(0, len(embeddings), rows):
        yield embeddings[start : start + rows].astype(np.float32)


def _product(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the (N, M) float32 scores of (N, D) with (M, D) float32."""
    import torch

    # Not by NumPy, see `Classifier.scores`.
    return (torch.from_numpy(rows) @ torch.from_numpy(others).T).numpy()
