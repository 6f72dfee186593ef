"""Queries in, hits out."""

import os
import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np

from medsiglip_search.encoders import Encoder, load_encoder_of
from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.images.guard import Guard, Limits
from medsiglip_search.index import Index, Kind, open_index
from medsiglip_search.queries import GroupBy, Image, Part, Query, QueryImage, Where
from medsiglip_search.querying import cursors
from medsiglip_search.querying.embedding import Embedded, QueryEmbedder
from medsiglip_search.querying.grouping import Groups
from medsiglip_search.querying.own_patient import left_out
from medsiglip_search.querying.ranking import Asked, Ranked, cosines, members, pictures, rank
from medsiglip_search.querying.relevance import MATCH, Background, GroupSample, ImageSample
from medsiglip_search.querying.selections import Selections
from medsiglip_search.querying.typical_texts import TYPICAL_TEXTS
from medsiglip_search.records import Hit, Instance, Result


class Searcher:
    """Answers queries from one version of a gallery, in any number of threads.

    gallery: at that version. To write, open the gallery anew: `searcher.gallery.writer()` would take
    `searcher.gallery` to another version than the index has.
    """

    def __init__(self, gallery: Gallery, encoder: Encoder, index: Index, guard: Guard | None = None) -> None:
        """Take the parts as they are; `open` puts them together.

        guard: decodes query images; by default one with a single worker, started for the first of them.
        Raises GalleryMismatch if the encoder is not the gallery's.
        """
        gallery.require(encoder)
        # A writer takes the object that it was opened on to the next version, and that may be the caller's.
        self.gallery = gallery = copy(gallery)
        self.encoder = encoder
        self.index = index
        self._state = gallery.state
        self.selections = Selections(gallery)
        self._sample = ImageSample(gallery)
        # What follows takes time in a large gallery; it is read when first needed.
        self._lock = threading.RLock()
        self._groups: dict[str, Groups] = {}
        self._group_samples: dict[str, GroupSample] = {}
        self._guard = guard or Guard(workers=1)
        self._embedder = QueryEmbedder(gallery, encoder, self._guard, self._sample)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        encoder: str | Encoder | None = None,
        device: str = "auto",
        limits: Limits = Limits(),
        index: Kind = "auto",
        recall: float = 0.95,
    ) -> "Searcher":
        """Open the gallery at `path` with its own encoder, or with this one or the one of this name.

        device: of the encoder and of exact search. limits: what decoding a query image may take.
        index, recall: see `open_index`.
        Raises GalleryNotFound, GalleryDamaged, GalleryMismatch, EncoderUnavailable, IndexUnavailable,
        InvalidQuery.
        """
        gallery = Gallery.open(path)
        if encoder is None or isinstance(encoder, str):
            encoder = load_encoder_of(gallery.meta, encoder, device)
        gallery.require(encoder)
        found = open_index(gallery, index, recall, device, partial(encoder.embed_texts, TYPICAL_TEXTS))
        return cls(gallery, encoder, found, Guard(1, limits))

    def refreshed(self) -> "Searcher":
        """Return a searcher of the gallery's newest version, which shares with this one what is loaded.

        This one stays on its version. Images that came since are found without building an index anew.
        """
        gallery = Gallery.open(self.gallery.path)
        if gallery.state == self._state:
            return self
        return Searcher(gallery, self.encoder, self.index.refreshed(gallery), self._guard)

    def search(
        self,
        text: str | None = None,
        *,
        images: Sequence[QueryImage | Image] = (),
        like: Sequence[int] = (),
        study: str | None = None,
        parts: Sequence[Part] = (),
        without: Sequence[str] = (),
        unlike: Sequence[int] = (),
        negation: bool = True,
        as_case: bool = False,
        where: Where | None = None,
        group_by: GroupBy | None = None,
        other_patients: bool | None = None,
        min_relevance: float | None = None,
        top_k: int = 10,
        cursor: str | None = None,
    ) -> Result:
        """Return the `top_k` best hits for all parts of the query together, best first, as `Query` says.

        Equal scores are ordered by image_id. An image or a study of the gallery is not its own answer, and
        images of equal pixels are one hit, or one in each group.
        Raises InvalidQuery; CursorExpired if the gallery has changed since the page before.
        """
        query = Query(
            text=text,
            images=images,
            like=like,
            study=study,
            parts=parts,
            without=without,
            unlike=unlike,
            negation=negation,
            as_case=as_case,
            where=where,
            group_by=group_by,
            other_patients=other_patients,
            min_relevance=min_relevance,
            top_k=top_k,
            cursor=cursor,
        )
        return self.search_all([query])[0]

    def search_all(self, questions: Sequence[Query | str]) -> list[Result]:
        """Answer several queries, or texts, in their order, in one batch. Raises as `search`."""
        if isinstance(questions, str | Query):
            raise InvalidQuery("search_all takes a list of queries; ask a single one with [...] around it")
        queries = [each if isinstance(each, Query) else Query(each) for each in questions]
        embedded = self._embedder.embed(queries)
        plans = [self._plan(query, each) for query, each in zip(queries, embedded, strict=True)]
        pages: dict[int, _Page] = {}
        for condition in dict.fromkeys(plan.condition for plan in plans):
            numbers = [number for number, plan in enumerate(plans) if plan.condition == condition]
            allowed = self.selections.select(condition)
            found = rank(self.gallery, self.index, [plans[number].asked for number in numbers], allowed)
            for number, ranked in zip(numbers, found, strict=True):
                pages[number] = self._page(queries[number], plans[number], ranked, allowed)
        return self._results([pages[number] for number in range(len(queries))])

    def _plan(self, query: Query, embedded: Embedded) -> "_Plan":
        """Say what is to be ranked for a query."""
        condition = self.selections.condition(query.where)
        identity = f"{embedded.identity} {condition!r}"
        offset = 0
        if query.cursor is not None:
            offset = cursors.offset_of(query.cursor, self._state, identity)
        excluded, notes = left_out(self.gallery, self._grouped, embedded, query.other_patients)
        group_by = query.group_by or ("study" if embedded.is_case else "image")
        groups = self._grouped(_COLUMNS[group_by])
        # One more than the page holds tells whether there is a next one.
        count = min(offset + int(query.top_k), len(self.gallery)) + 1
        asked = Asked(embedded.rows, excluded, groups, self._grouped("pixel_digest"), count)
        return _Plan(
            asked,
            group_by,
            condition,
            offset,
            embedded.says_absent_only,
            identity,
            (*embedded.notes, *notes),
        )

    def _page(self, query: Query, plan: "_Plan", found: Ranked, allowed: np.ndarray | None) -> "_Page":
        """Return what stands on the page after the offset."""
        relevance = self._background(plan).relevance(found.scores)
        # What says only what must be absent is answered by whatever is left.
        is_sure = plan.says_absent_only or self._sample.is_too_small
        matches = bool(len(relevance)) and (is_sure or bool(relevance[0] >= MATCH))
        last = len(relevance)
        if query.min_relevance is not None:
            last = int((relevance >= query.min_relevance).sum())
        end = min(plan.offset + int(query.top_k), last)
        page = slice(plan.offset, end)
        image_ids = found.image_ids[page]
        counts = self._counts(plan, image_ids, allowed)
        cursor = cursors.cursor(self._state, plan.identity, end) if end < last else None
        return _Page(
            image_ids, found.scores[page], relevance[page], counts, plan.offset, matches, cursor, plan.notes
        )

    def _results(self, pages: Sequence["_Page"]) -> list[Result]:
        """Return the pages with their images, which are read for all at once: nothing else takes as long."""
        image_ids = np.unique(np.concatenate([np.empty(0, np.int64), *(page.image_ids for page in pages)]))
        instances = {each.image_id: each for each in self._instances(image_ids)}
        results = []
        for page in pages:
            hits = [
                Hit(instances[int(image_id)], float(score), float(above), rank, count)
                for rank, (image_id, score, above, count) in enumerate(
                    zip(page.image_ids, page.scores, page.relevance, page.counts, strict=True),
                    start=page.offset + 1,
                )
            ]
            results.append(Result(tuple(hits), page.matches, page.cursor, page.notes))
        return results

    def _background(self, plan: "_Plan") -> Background:
        if len(plan.asked.rows) == 1:
            return self._sample.background(plan.asked.rows[0])
        with self._lock:
            if plan.group_by not in self._group_samples:
                self._group_samples[plan.group_by] = GroupSample(
                    self.gallery, plan.asked.groups, self._sample.unit
                )
        return self._group_samples[plan.group_by].background(plan.asked.rows)

    def _counts(self, plan: "_Plan", image_ids: np.ndarray, allowed: np.ndarray | None) -> list[int]:
        """Return how many images each hit stands for."""
        asked = plan.asked
        codes = asked.groups.of(image_ids)
        if plan.group_by == "image":
            return [len(members(asked, asked.groups, code, allowed)) for code in codes]
        groups = [pictures(asked, code, allowed) for code in codes]
        together = np.concatenate([np.empty(0, np.int64), *groups])
        row = asked.rows.mean(axis=0)
        background = self._sample.background(row)
        stands_out = background.relevance(cosines(self.gallery, together, row)) >= MATCH
        # The hit itself is one of them, be it what comes nearest where nothing stands out.
        stands_out |= np.isin(together, image_ids)
        owners = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        return np.bincount(owners[stands_out], minlength=len(groups)).tolist()

    def _instances(self, image_ids: np.ndarray) -> list[Instance]:
        return self.gallery.instances(image_ids) if len(image_ids) else []

    def _grouped(self, column: str) -> Groups:
        with self._lock:
            if column not in self._groups:
                self._groups[column] = Groups.read(self.gallery, column)
            return self._groups[column]


_COLUMNS: dict[GroupBy, str] = {
    "image": "pixel_digest",
    "patient": "patient",
    "study": "study",
    "series": "series",
}
"""By what a hit's images belong together; a picture that is there twice is one image."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """How a query is answered. condition: its filter in SQL; offset: how many hits the pages before had."""

    asked: Asked
    group_by: GroupBy
    condition: str | None
    offset: int
    says_absent_only: bool
    identity: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """The hits of a page, (n,) each, and what is said of the result; offset: hits of the pages before."""

    image_ids: np.ndarray
    scores: np.ndarray
    relevance: np.ndarray
    counts: list[int]
    offset: int
    matches: bool
    cursor: str | None
    notes: tuple[str, ...]
