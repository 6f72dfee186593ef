"""What a gallery stores of patient, study, series and instance: pseudonyms, the file's own, or nothing."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from medsiglip_search.records import Attributes

if TYPE_CHECKING:
    from medsiglip_search.gallery import Gallery

PSEUDONYM_DIGITS = 16
"""Hexadecimal digits: among 10 million identifiers two meet with a chance of 1 in 370,000."""

# Spaces, and a null after a UID, fill a value to an even length (PS3.5 6.2, 9.1).
_PADDING = " \0"


class StoredIdentifiers(Protocol):
    """One gallery's way with identifiers."""

    def attributes(self, attributes: Attributes) -> Attributes:
        """Return `attributes` with identifiers as they are stored; missing or blank is None."""
        ...


def identifiers_for(gallery: "Gallery") -> StoredIdentifiers:
    """Return what `gallery.meta.identifiers` asks for.

    Raises GalleryDamaged if pseudonyms are asked for and their key is lost.
    """
    match gallery.meta.identifiers:
        case "pseudonym":
            return Pseudonymizer(gallery.secret_key)
        case "keep":
            return Kept()
        case "drop":
            return Dropped()


class Kept:
    """Leaves identifiers as the file has them, less their padding."""

    def attributes(self, attributes: Attributes) -> Attributes:
        """Return `attributes` with identifiers stripped; missing or blank is None."""
        return _with_identifiers(attributes, lambda kind, value: value)


class Dropped:
    """Stores no identifier at all: nothing can be grouped by patient, and no duplicate instance be found."""

    def attributes(self, attributes: Attributes) -> Attributes:
        """Return `attributes` without identifiers."""
        return replace(attributes, patient=None, study=None, series=None, instance=None)


class Pseudonymizer:
    """Replaces identifiers by the first digits of their HMAC-SHA256: unlike ones in every gallery.

    Without the key nobody can list all patient numbers and look for the one that fits, which a plain hash
    would allow.
    """

    def __init__(self, key: bytes) -> None:
        """key: the gallery's own, `Gallery.secret_key`."""
        if len(key) < 32:
            raise ValueError(f"a key of {len(key)} bytes; pseudonyms need at least 32 random ones")
        self._key = key

    def pseudonym(self, kind: str, value: str) -> str:
        """Return the pseudonym of one identifier.

        kind: "patient", "study", "series" or "instance"; equal values of two kinds get unlike pseudonyms.
        Padding around the value does not count.
        """
        message = f"{kind}\0{value.strip(_PADDING)}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]

    def attributes(self, attributes: Attributes) -> Attributes:
        """Return `attributes` with patient, study, series and instance replaced; missing or blank is None."""
        return _with_identifiers(attributes, self.pseudonym)


def _with_identifiers(attributes: Attributes, stored: Callable[[str, str], str]) -> Attributes:
    """Return `attributes` with what `stored` makes of the kind and the stripped value of each identifier."""

    def of(kind: str, value: str | None) -> str | None:
        stripped = value.strip(_PADDING) if value else ""
        return stored(kind, stripped) if stripped else None

    return replace(
        attributes,
        patient=of("patient", attributes.patient),
        study=of("study", attributes.study),
        series=of("series", attributes.series),
        instance=of("instance", attributes.instance),
    )
