"""Queries to embeddings: texts taken apart, pictures read as the gallery's own were, parts put together."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from medsiglip_search import filters
from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import InvalidQuery, Unreadable
from medsiglip_search.gallery import Gallery
from medsiglip_search.images import pixel_digest
from medsiglip_search.images.guard import Guard
from medsiglip_search.queries import Image, Like, Part, Query, QueryImage, Region, Study, Text
from medsiglip_search.querying.absence import ABSENT_ALONE_WEIGHT, kind_of, present_minus_absent
from medsiglip_search.querying.negation import Understood, understood
from medsiglip_search.querying.relevance import ImageSample
from medsiglip_search.records import Attributes

MAX_CASE_IMAGES = 64
"""Of a case with more images so many are asked about, evenly spaced."""

MAX_ABSENT = 16
"""A query may say of so many things that they must be absent."""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A query picture. attributes: of its file, with the file's own identifiers."""

    pixels: np.ndarray
    digest: str
    attributes: Attributes = Attributes()


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A query as the index takes it.

    rows: (n, D) float32 unit rows, one unless it is a case. says_absent_only: it names nothing to look for.
    own: image_ids of the images and studies asked about; unlike: of those that hits are not to be like.
    pictures: the query's own.
    identity: equal for equal questions but for their filters. notes: how it was understood.
    """

    rows: np.ndarray
    is_case: bool
    says_absent_only: bool
    own: np.ndarray
    unlike: np.ndarray
    pictures: tuple[Read, ...]
    identity: str
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Question:
    """A query on its way."""

    query: Query
    parts: list[Part]
    texts: Mapping[str, Understood]
    absent: list[str]
    pictures: list[Read]
    studies: Mapping[str, np.ndarray]
    notes: list[str] = field(default_factory=list)


class QueryEmbedder:
    """Embeds queries for one version of a gallery."""

    def __init__(self, gallery: Gallery, encoder: Encoder, guard: Guard, sample: ImageSample) -> None:
        self._gallery = gallery
        self._encoder = encoder
        self._guard = guard
        self._sample = sample

    def embed(self, queries: Sequence[Query]) -> list[Embedded]:
        """Return each query's embedding, all texts and all pictures encoded at once. Raises InvalidQuery."""
        questions = []
        once = _Once(self._read)
        for number, query in enumerate(queries, start=1):
            with _naming(number, len(queries)):
                questions.append(self._question(query, once.read))
        texts = list(dict.fromkeys(text for question in questions for text in _texts(question)))
        by_text = dict(zip(texts, self._encoder.embed_texts(texts), strict=True)) if texts else {}
        embeddings = dict(zip(once.pictures, self._embedded_pictures(once.pictures), strict=True))
        results = []
        for number, question in enumerate(questions, start=1):
            with _naming(number, len(queries)):
                own = [embeddings[picture] for picture in question.pictures]
                results.append(self._combined(question, by_text, own))
        return results

    def _question(self, query: Query, read: Callable[[Image], Read]) -> _Question:
        """Take the texts apart and read the pictures."""
        parts = query.all_parts()
        texts = {
            part.text: understood(part.text) if query.negation else Understood(part.text)
            for part in parts
            if isinstance(part, Text)
        }
        absent = list(
            dict.fromkeys([*(name for text in texts.values() for name in text.absent), *query.without])
        )
        studies = {part.study: self._study(part.study) for part in parts if isinstance(part, Study)}
        pictures = [read(part) for part in parts if isinstance(part, Image)]
        _check_contradiction([text.present for text in texts.values()], absent)
        question = _Question(query, parts, texts, absent[:MAX_ABSENT], pictures, studies)
        if absent:
            question.notes.append(f"taken as absent: {', '.join(question.absent)}")
        if more := absent[MAX_ABSENT:]:
            question.notes.append(f"more things that must be absent, left out: {len(more)}")
        return question

    def _study(self, study: str) -> np.ndarray:
        columns, schema = self._gallery.columns(), self._gallery.schema
        image_ids = self._gallery.select(filters.of_values({"study": study}, columns, schema))
        if not len(image_ids):
            raise InvalidQuery(f"no study {study!r} in the gallery; take one from a hit")
        return image_ids

    def _read(self, image: QueryImage, region: Region | None) -> Read:
        """Return a query picture, read as the gallery's own were, or the region of it that is asked about."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise InvalidQuery(
                    f"query image: {image.dtype} of shape {image.shape}; give uint8 of (H, W, 3)"
                )
            pixels, attributes = image, Attributes()
        else:
            try:
                picture = self._guard.read(image, self._gallery.meta.spec.rendering)
            except Unreadable as error:
                raise _unreadable(error) from None
            pixels, attributes = picture.pixels, picture.attributes
        digest = pixel_digest(pixels)
        return Read(pixels if region is None else _cropped(pixels, region), digest, attributes)

    def _embedded_pictures(self, pictures: Sequence[Read]) -> np.ndarray:
        if not pictures:
            return np.empty((0, self._encoder.dim), np.float32)
        try:
            return self._encoder.embed_images([picture.pixels for picture in pictures])
        except Unreadable as error:
            raise _unreadable(error) from None

    def _combined(
        self, question: _Question, by_text: Mapping[str, np.ndarray], pictures: Sequence[np.ndarray]
    ) -> Embedded:
        """Put the parts of a query together."""
        shared: list[tuple[float, np.ndarray]] = []  # in every row
        case: list[tuple[float, np.ndarray]] = []  # in a row of its own
        own = [np.empty(0, np.int64)]
        left = iter(pictures)
        for part in question.parts:
            match part:
                case Text(text, weight):
                    if (present := question.texts[text].present) is not None:
                        shared.append((weight, by_text[present]))
                case Image(weight=weight):
                    (case if question.query.as_case else shared).append((weight, next(left)))
                case Like(image_id, weight):
                    shared.append((weight, self._gallery.embeddings_of([image_id])[0]))
                    own.append(np.array([image_id], np.int64))
                case Study(study, weight):
                    image_ids = question.studies[study]
                    own.append(image_ids)
                    asked = image_ids[_spaced(len(image_ids))]
                    if len(asked) < len(image_ids):
                        note = f"{len(asked)} of the study's {len(image_ids)} images are compared"
                        question.notes.append(note)
                    case += [(weight, row) for row in self._gallery.embeddings_of(asked)]
        unlike = np.unique(np.array(question.query.unlike, np.int64))
        absent = [by_text[text].astype(np.float64) for text in question.absent]
        if len(unlike):
            absent += list(self._gallery.embeddings_of(unlike).astype(np.float64))
        rows = [[*shared, each] for each in case] or [shared]
        return Embedded(
            np.stack([self._row(parts, absent, question.notes) for parts in rows]),
            bool(case),
            not (case or shared),
            np.unique(np.concatenate(own)),
            unlike,
            tuple(question.pictures),
            _identity(question),
            tuple(dict.fromkeys(question.notes)),
        )

    def _row(
        self, parts: Sequence[tuple[float, np.ndarray]], absent: Sequence[np.ndarray], notes: list[str]
    ) -> np.ndarray:
        """Return the (D,) float32 unit embedding of parts that are averaged, less what must be absent."""
        sample = self._sample.embeddings
        if parts:
            weights = np.array([weight for weight, _ in parts], np.float64)
            # Divided by the largest, for neither their sum nor the row's length may leave a number's range.
            row = _unit(weights / weights.max() @ np.stack([row for _, row in parts]).astype(np.float64))
            if absent:
                row = present_minus_absent(row, absent, sample)
        elif len(sample):
            kind = kind_of(absent, sample, self._sample.modalities)
            mean = sample[self._sample.modalities == kind].mean(axis=0, dtype=np.float64)
            row = present_minus_absent(_unit(mean), absent, sample, ABSENT_ALONE_WEIGHT)
            notes.append(f"nothing is said to be present: {f'{kind} pictures'.strip()} are looked for")
        else:
            row = -np.sum(absent, axis=0)
        return _unit(row).astype(np.float32)


class _Once:
    """Reads each part of each picture once: queries of a batch share them. pictures: those read."""

    def __init__(self, read: Callable[[QueryImage, Region | None], Read]) -> None:
        self._read = read
        self._known: dict[object, Read] = {}

    @property
    def pictures(self) -> list[Read]:
        return list(self._known.values())

    def read(self, part: Image) -> Read:
        # An array cannot be looked up; the query holds it, so no other has its id meanwhile.
        image = id(part.image) if isinstance(part.image, np.ndarray) else part.image
        key = (image, None if part.region is None else tuple(part.region))
        if key not in self._known:
            self._known[key] = self._read(part.image, part.region)
        return self._known[key]


@contextmanager
def _naming(number: int, count: int) -> Iterator[None]:
    """Let the errors about one query of several tell which it is."""
    try:
        yield
    except InvalidQuery as error:
        if count == 1:
            raise
        raise InvalidQuery(f"query {number} of {count}: {error}") from None


def _check_contradiction(present: Sequence[str | None], absent: Sequence[str]) -> None:
    """Raise InvalidQuery for a text that is to be there and not to be there."""
    names = {_plain(text) for text in absent}
    for text in present:
        if text is not None and _plain(text) in names:
            raise InvalidQuery(f"{text.strip()!r} is to be there, and to be absent; leave one of them out")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _texts(question: _Question) -> Iterable[str]:
    yield from (text.present for text in question.texts.values() if text.present is not None)
    yield from question.absent


def _unit(row: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(row)
    if not norm > 1e-6:  # NaN too
        raise InvalidQuery("its parts cancel out, or the encoder failed on it; ask for one part alone")
    return row / norm


def _cropped(pixels: np.ndarray, region: Region) -> np.ndarray:
    rows, columns = pixels.shape[:2]
    x0, y0, x1, y1 = region
    if not (0 <= x0 < x1 <= columns and 0 <= y0 < y1 <= rows):
        raise InvalidQuery(
            f"region {x0},{y0},{x1},{y1}: the picture is {columns} wide and {rows} high; give x0,y0,x1,y1 "
            "inside it, x0 below x1 and y0 below y1"
        )
    return pixels[y0:y1, x0:x1]


def _spaced(count: int) -> np.ndarray:
    """Return at most `MAX_CASE_IMAGES` places out of `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, MAX_CASE_IMAGES)).round().astype(int))


def _unreadable(error: Unreadable) -> InvalidQuery:
    why = str(error).rstrip(".")
    return InvalidQuery(f"query image: {error.reason}: {why}. Use another picture")


def _identity(question: _Question) -> str:
    """Return what is the same for the same question, whatever its filter, pictures by their pixels.

    Pages may differ in size.
    """
    query, pictures = question.query, iter(question.pictures)
    asked: list[object] = []
    for part in question.parts:
        told = next(pictures).digest if isinstance(part, Image) else repr(part)
        asked.append([told, float(part.weight), repr(part.region) if isinstance(part, Image) else None])
    chosen = [query.group_by, query.other_patients, query.min_relevance, query.as_case]
    unlike = sorted({int(image_id) for image_id in query.unlike})
    told_of = json.dumps([asked, list(query.without), unlike, query.negation, *map(repr, chosen)])
    return hashlib.sha256(told_of.encode()).hexdigest()
