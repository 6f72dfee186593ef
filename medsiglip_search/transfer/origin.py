"""Where embeddings came from: what a file says of its gallery, and whether two galleries go together."""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from medsiglip_search.errors import GalleryMismatch, UnusableFile
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import FORMAT_VERSION, GalleryMeta, PreprocessSpec

KEY = "medsiglip_search"
"""Under which a file holds its `Origin`, as JSON."""

IDENTIFIERS = ("patient", "study", "series", "instance")
"""The columns that may hold pseudonyms."""

MAX_DIM = 65_536


@dataclass(frozen=True, slots=True)
class Origin:
    """The gallery that embeddings came from.

    pseudonym_key: tells equal keys of pseudonyms from unlike ones and gives none away; "" where there are no
        pseudonyms.
    """

    meta: GalleryMeta
    pseudonym_key: str

    @classmethod
    def of(cls, gallery: Gallery) -> "Origin":
        """Raises GalleryDamaged if the gallery's key is lost."""
        has_pseudonyms = gallery.meta.identifiers == "pseudonym"
        return cls(gallery.meta, _fingerprint(gallery.secret_key) if has_pseudonyms else "")

    def to_json(self) -> bytes:
        """Return what `origin_of_json` reads."""
        return _ORIGIN.dump_json(self)


_ORIGIN = TypeAdapter(Origin)


def origin_of_json(path: Path, content: bytes) -> Origin:
    """Return what an export wrote into the file at `path`.

    Raises GalleryMismatch for another format version, UnusableFile for what no export writes.
    """
    try:
        version = from_json(content)["meta"]["format_version"]
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise GalleryMismatch(
                f"{path}: format version {version}, and this release reads {FORMAT_VERSION}. "
                "Export it again with this release"
            )
        origin = _ORIGIN.validate_json(content)
    except (ValidationError, ValueError, KeyError, TypeError):
        origin = None
    if origin is None or not 1 <= origin.meta.dim <= MAX_DIM:
        raise UnusableFile(f"{path}: what it says of its encoder cannot be read. Export it again")
    return origin


def require_comparable(place: object, meta: GalleryMeta, other_place: object, other: GalleryMeta) -> None:
    """Raise GalleryMismatch unless the embeddings at both places come from one encoder and preprocessing."""
    if differences := list(_differences(meta, other)):
        raise GalleryMismatch(
            f"{place} and {other_place} do not go together: {'; '.join(differences)}. "
            "Embeddings compare only with those of the same encoder and preprocessing: name another gallery"
        )


def _differences(meta: GalleryMeta, other: GalleryMeta) -> Iterator[str]:
    if (other.weights_digest, other.dim) != (meta.weights_digest, meta.dim):
        yield f"embedded with {_described(meta)} and with {_described(other)}"
    for field in fields(PreprocessSpec):
        one, two = getattr(meta.spec, field.name), getattr(other.spec, field.name)
        if one != two:
            yield f"pictures were made with {field.name} {one} and {two}"


def _described(meta: GalleryMeta) -> str:
    return f"{meta.encoder} (weights {meta.weights_digest[:12]}, {meta.dim} numbers)"


def _fingerprint(key: bytes) -> str:
    # No pseudonym is made of this message, which lacks the kind of an identifier.
    return hmac.new(key, b"fingerprint", hashlib.sha256).hexdigest()[:16]
