"""Keyed pseudonyms: the same identifier gives the same pseudonym in one gallery and another elsewhere."""

import hashlib
import hmac
from dataclasses import replace

from medsiglip_search.records import Attributes

PSEUDONYM_DIGITS = 16
"""Hexadecimal digits: among 10 million identifiers two meet with a chance of 1 in 370,000."""

_PADDING = " \0"


class Pseudonymizer:
    """Replaces identifiers by the first digits of their HMAC-SHA256.

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
        Spaces around the value do not count: DICOM pads to an even length with them (PS3.5 6.2).
        """
        message = f"{kind}\0{value.strip(_PADDING)}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]

    def attributes(self, attributes: Attributes) -> Attributes:
        """Return `attributes` with patient, study, series and instance replaced; missing or blank is None."""

        def of(kind: str, value: str | None) -> str | None:
            return self.pseudonym(kind, value) if value and value.strip(_PADDING) else None

        return replace(
            attributes,
            patient=of("patient", attributes.patient),
            study=of("study", attributes.study),
            series=of("series", attributes.series),
            instance=of("instance", attributes.instance),
        )
