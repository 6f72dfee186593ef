"""Search in two stages: likely rows from a compressed index of the base, scored exactly from what is stored.

Rows that came after the base are compared one and all, so they are found at once, and rows that have gone are
never answered. The scores are those of exact search; only which rows are found is approximate.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from medsiglip_search.gallery import Gallery
from medsiglip_search.index import files, tuning
from medsiglip_search.index.exact import ExactIndex, checked
from medsiglip_search.index.faiss import STAGES, honours_filters
from medsiglip_search.index.first_stage import FirstStage
from medsiglip_search.index.rows import ROWS, Rows
from medsiglip_search.index.tuning import TUNED_FOR, Held, Setting

SUBSET_ROWS = 16_384
"""Allowed rows up to which comparing them all is as fast as asking a first stage."""

LARGE_ANSWER = 8
"""The share 1/8 of rows to look at from which on all are compared."""

LEAST_SHARE = 1 / 4
"""The share of allowed rows below which all of them are compared. That takes as much less time as they are
fewer, and a first stage that was tuned without a filter finds fewer of the best behind a narrow one."""

AROUND, AGAINST = 50, 0.5
"""A filter goes against a query if, of so many images around it, not half as many are allowed as of all."""

CODES = "faiss"

Texts = Callable[[], np.ndarray]
"""Makes (n, D) embeddings of typical texts."""

log = logging.getLogger(__name__)


class StagedIndex:
    """A first stage over the base, and exact search for everything else; implements `Index`."""

    def __init__(
        self,
        rows: Rows,
        stage: FirstStage,
        setting: Setting,
        exact: ExactIndex,
        recall: float = 0.95,
        texts: Texts | None = None,
    ) -> None:
        """exact: over the same rows. setting: how much the stage looks at. recall, texts: as in `open`."""
        self.kind = stage.kind
        self.rows = rows
        self.stage = stage
        self.setting = setting
        self._exact = exact
        self._recall, self._texts = recall, texts
        self._filters = honours_filters(stage.kind)

    @classmethod
    def open(
        cls, gallery: Gallery, rows: Rows, kind: str, recall: float, texts: Texts | None
    ) -> "StagedIndex":
        """Load the stage that was saved with these rows, or build, measure and save it.

        recall: the share of the ten best rows that must be found, measured on held-out queries.
        texts: makes (n, D) embeddings of typical texts, for those who will ask by text.
        """
        exact = ExactIndex(rows, torch.device("cpu"))
        stage, settings = _load(gallery, rows, kind) or _build(gallery, rows, kind, exact, texts)
        setting = tuning.cheapest(settings, recall)
        if setting.recall < recall:
            log.warning(
                "the %s index finds %.3f of the ten best images at most, and %.3f were asked for",
                *(kind, setting.recall, recall),
            )
        return cls(rows, stage, setting, exact, recall, texts)

    def refreshed(self, gallery: Gallery) -> "StagedIndex | ExactIndex":
        """Return the index of another version of the same gallery; new rows are compared one and all.

        Where so many rows came or went that the base is written anew, the stage is built anew, too; where few
        are left, the index is exact.
        """
        exact = self._exact.refreshed(gallery)
        if exact.rows.count <= SUBSET_ROWS:
            return exact
        if exact.rows.saved is not self.rows.saved:
            return self.open(gallery, exact.rows, self.kind, self._recall, self._texts)
        return StagedIndex(exact.rows, self.stage, self.setting, exact, self._recall, self._texts)

    def search(
        self, queries: np.ndarray, top_k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and image_ids as `Index` says; a few of the best may be missing."""
        queries = checked(queries)
        member = self.rows.member(allowed)
        count = len(self.rows.image_ids) if member is None else int(member.sum())
        k = min(top_k, count)
        share = count / max(len(self.rows.image_ids), 1)
        effort, depth = self._enlarged(k, share)
        is_apart = member is not None and (not self._filters or share < LEAST_SHARE)
        if count <= SUBSET_ROWS or is_apart or LARGE_ANSWER * max(depth, effort) > count:
            scores, places = self._exact.nearest(queries, k, member)
        else:
            scores, places = self._nearest(queries, k, effort, depth, member)
        return scores, self.rows.image_ids[places]

    def _goes_against(self, queries: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Tell for which queries, (Q,) bool, a filter leaves only what is far from them.

        "CT" does so for a text about chest films: of the images around the query few are CT. What is best
        among those far away lies in no direction that a stage looks in, and it finds next to nothing of it.
        inside: (B,) bool, the places of the base that may be answered.
        """
        if self.stage.looks_everywhere:
            return np.zeros(len(queries), bool)
        near = self.stage.candidates(queries, AROUND, self.setting.effort, None)
        allowed = np.where(near >= 0, inside[near], False).sum(axis=1)
        return allowed < AGAINST * inside.mean() * (near >= 0).sum(axis=1)

    def _enlarged(self, k: int, share: float) -> tuple[int, int]:
        """Return effort and depth for an answer that is longer than the one they were tuned for, or filtered.

        With fewer rows around the query, the best lie in more directions.
        """
        times = max(1.0, k / TUNED_FOR)
        depth = min(math.ceil(self.setting.depth * times / max(share, LEAST_SHARE)), len(self.rows.base))
        return math.ceil(self.setting.effort * math.sqrt(times) / max(share, LEAST_SHARE)), depth

    def _nearest(
        self, queries: np.ndarray, k: int, effort: int, depth: int, member: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        size = len(self.rows.base)
        inside = None if member is None or member[:size].all() else member[:size]
        apart = np.zeros(len(queries), bool) if inside is None else self._goes_against(queries, inside)
        tail = self._tail(queries, k, member)
        scores, places = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        asked = np.flatnonzero(~apart)
        found = self.stage.candidates(queries[asked], depth, effort, inside) if len(asked) else ()
        for number, row in zip(asked.tolist(), found, strict=True):
            near = np.concatenate([row[row >= 0], tail[number]])
            if len(near) < k:
                apart[number] = True
            else:
                scores[number], places[number] = self._exact.best(queries[number], near, k)
        if apart.any():
            scores[apart], places[apart] = self._exact.nearest(queries[apart], k, member)
        return scores, places

    def _tail(self, queries: np.ndarray, k: int, member: np.ndarray | None) -> np.ndarray:
        """Return the places of the best rows that came after the base, (Q, n)."""
        size, total = len(self.rows.base), len(self.rows.image_ids)
        if size == total:
            return np.empty((len(queries), 0), np.int64)
        after = np.zeros(total, bool)
        after[size:] = True if member is None else member[size:]
        return self._exact.nearest(queries, k, after)[1]


def _load(gallery: Gallery, rows: Rows, kind: str) -> tuple[FirstStage, Sequence[Setting]] | None:
    """Return the saved stage and its measurements, if they belong to these rows."""
    part = files.load(gallery, kind, (CODES,))
    if part is None:
        return None
    with part.files[CODES] as file:
        if part.note["rows"] != rows.saved.note["key"]:
            log.info("the %s index is of earlier rows; building it anew", kind)
            return None
        settings = [Setting(**setting) for setting in part.note["measured"]]
        try:
            return STAGES[kind].load(part.note["stage"], file), settings
        except RuntimeError:  # of FAISS, which reads files of its earlier releases, but not of later ones
            log.info("this FAISS does not read the saved %s index; building it anew", kind)
            return None


def _build(
    gallery: Gallery,
    rows: Rows,
    kind: str,
    exact: ExactIndex,
    texts: Texts | None,
) -> tuple[FirstStage, Sequence[Setting]]:
    started = time.monotonic()
    log.info("building the %s index of %d images; this is done once", kind, len(rows.base))
    stage = STAGES[kind].build(rows.base)
    built_s = time.monotonic() - started
    held = Held.of(rows, None if texts is None else texts())
    settings = tuning.measure(stage, exact, held)
    note, write = stage.saved()
    files.save(
        gallery,
        kind,
        {
            "rows": rows.saved.note["key"],
            "images": len(rows.base),
            "size_bytes": stage.size_bytes,
            "build_seconds": round(built_s, 1),
            "held_out": {"images": len(held.images), "texts": len(held.texts)},
            "measured": [setting.as_dict() for setting in settings],
            "stage": note,
        },
        {CODES: write},
        # Other kinds stay too, if they are of these rows.
        beside={ROWS: rows.saved.note} | _others(gallery, rows, kind),
    )
    return stage, settings


def _others(gallery: Gallery, rows: Rows, kind: str) -> dict[str, Any]:
    notes = {other: files.note_of(gallery, other) for other in STAGES if other != kind}
    key = rows.saved.note["key"]
    return {
        other: note for other, note in notes.items() if isinstance(note, dict) and note.get("rows") == key
    }
