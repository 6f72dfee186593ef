"""The JSON names of the product, the same on the command line and over REST."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from medsiglip_search.records import Hit, Picture, Rejected, Result

if TYPE_CHECKING:
    from medsiglip_search.explain import Explanation
    from medsiglip_search.gallery import Gallery


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return a hit flat, the sidecar's columns last; None where nothing is known."""
    instance = hit.instance
    return {
        "rank": hit.rank,
        "score": hit.score,
        "relevance": hit.relevance,
        "image_id": instance.image_id,
        "uri": instance.uri,
        "frame": instance.frame,
        "archive": instance.archive,
        **asdict(instance.attributes),
        "count": hit.count,
        **instance.sidecar,
    }


def result_json(result: Result) -> dict[str, Any]:
    """Return what is said of a result as a whole."""
    return {
        "hits": len(result),
        "matches": result.matches,
        "cursor": result.cursor,
        "notes": list(result.notes),
    }


def explanation_json(explanation: "Explanation") -> dict[str, Any]:
    """Return an explanation; its warnings are what `Caution` says."""
    told = asdict(explanation)
    pictures, warnings = told.pop("cases"), told.pop("cautions")
    for picture in pictures:
        picture["warnings"] = picture.pop("cautions")
    return {**told, "pictures": pictures, "warnings": warnings}


def rejected_json(rejected: Rejected) -> dict[str, Any]:
    """Return what was rejected and why; frame is None where the whole file is meant."""
    return {
        "uri": rejected.uri,
        "frame": rejected.frame,
        "reason": rejected.reason.value,
        "message": rejected.message,
    }


def picture_json(picture: Picture, source_digest: str, pixel_digest: str) -> dict[str, Any]:
    """Return what is known of a picture and its file; None where nothing is."""
    rows, columns = picture.pixels.shape[:2]
    return {
        "rows": rows,
        "columns": columns,
        "frame": picture.frame,
        "frame_count": picture.frame_count,
        **asdict(picture.attributes),
        "flags": list(picture.flags),
        "source_digest": source_digest,
        "pixel_digest": pixel_digest,
    }


def gallery_json(gallery: "Gallery") -> dict[str, Any]:
    """Return what a gallery holds and how it was made.

    size_bytes: of the folder, old versions included. last_run: of `index`, None before the first.
    """
    return {
        "images": len(gallery),
        "rejected": dict(Counter(one.reason.value for one in gallery.rejected())),
        **asdict(gallery.meta),
        "version": gallery.version,
        "size_bytes": gallery.size_bytes(),
        "columns": list(gallery.columns()),
        "last_run": asdict(runs[0]) if (runs := gallery.runs()) else None,
    }
