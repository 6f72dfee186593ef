"""What a user asks with, kept between two requests: uploads, questions, links to them. All frozen values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields

from medsiglip_search.queries import GroupBy, Part, Region
from medsiglip_search.records import Value


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A picture that a user has sent to ask with; it stays in memory.

    content: the file; digest: its SHA-256, in hex. preview: a small JPEG of it. frame_count: frames of the
    file; the middle one is meant.
    """

    content: bytes
    digest: str
    preview: bytes
    modality: str | None
    rows: int
    columns: int
    frame_count: int


@dataclass(frozen=True, slots=True)
class AskedImage:
    """An upload that is asked about, by its token, or a region of it."""

    upload: str
    region: Region | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asks of a gallery: `Query`, with uploads for pictures.

    where: a condition in SQL; filters: values that columns must have. Both hold where both are given.
    """

    text: str | None = None
    images: tuple[AskedImage, ...] = ()
    like: tuple[int, ...] = ()
    study: str | None = None
    parts: tuple[Part, ...] = ()
    without: tuple[str, ...] = ()
    unlike: tuple[int, ...] = ()
    where: str | None = None
    filters: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    group_by: GroupBy | None = None
    as_case: bool = False
    other_patients: bool | None = None
    min_relevance: float | None = None
    top_k: int = 20
    cursor: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The words that are asked for."""
        return (*([self.text] if self.text is not None else []), *self.without)

    @property
    def is_question(self) -> bool:
        """Whether there is something to look for; filters alone only choose."""
        return bool(
            self.texts or self.images or self.like or self.unlike or self.study is not None or self.parts
        )


def canonical(asked: Asked, pictures: Sequence[str]) -> str:
    """Return what is asked as JSON, the same for the same question, whichever page of its answer is shown.

    pictures: stand for the uploads, whose tokens are new each time.
    """
    told = {field.name: getattr(asked, field.name) for field in fields(asked)}
    told["images"] = [
        {**asdict(one), "upload": picture} for one, picture in zip(asked.images, pictures, strict=True)
    ]
    told["parts"] = [{**asdict(part), "kind": type(part).__name__} for part in asked.parts]
    told["filters"] = dict(asked.filters)
    del told["top_k"], told["cursor"]
    return json.dumps(told, sort_keys=True, ensure_ascii=False, default=str)


@dataclass(frozen=True, slots=True)
class Step:
    """A search before another: in a few words, and the token of its link."""

    words: str
    token: str


@dataclass(frozen=True, slots=True)
class Link:
    """A search that an address can lead back to, without telling what was asked.

    trail: the searches that led to it, the first one first.
    cursors: of the pages before the one that is shown, but for the first; the last one is that page's own.
    """

    gallery: str
    asked: Asked
    trail: tuple[Step, ...] = ()
    cursors: tuple[str, ...] = ()
