"""Files that are in a gallery and no longer in their archive."""

from collections.abc import Iterable, Iterator
from copy import copy
from itertools import chain, islice

from indexer.known_files import KnownFiles
from indexer.listing import Listing
from indexer.sources import Key
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_writer import GalleryWriter

FILES_AT_ONCE = 1000


def unlisted(gallery: Gallery, known: KnownFiles, listing: Listing) -> Iterator[Key]:
    """Yield the files that `gallery` holds of the listed archives and that were not listed, each once.

    Of a folder that could not be listed nothing is known, so what lies below it is left out.
    """
    if not known.missing:
        return
    # The gallery changes while the caller takes files out; a copy stays as it is.
    this_version = copy(gallery)
    names = "archive", "uri"
    yielded: set[int] = set()
    for key in _keys(chain(this_version.cell_batches(*names), this_version.rejected_batches(*names))):
        if known.is_missing(key) and hash(key) not in yielded and listing.could_see(key):
            yielded.add(hash(key))
            yield key


def drop_gone(writer: GalleryWriter, known: KnownFiles, listing: Listing) -> Iterator[int]:
    """Take the files that are gone out of the gallery; yields how many went, commit by commit."""
    files = (key for key in unlisted(writer.gallery, known, listing) if listing.is_gone(key))
    while some := list(islice(files, FILES_AT_ONCE)):
        for archive in listing.sources:
            if uris := [uri for of, uri in some if of == archive]:
                writer.remove(archive, uris)
        yield len(some)


def _keys(batches: Iterable[tuple[list, ...]]) -> Iterator[Key]:
    for archives, uris in batches:
        yield from zip(archives, uris, strict=True)
