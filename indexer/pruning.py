"""Files that are in a gallery and no longer in their archive."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy
from itertools import chain, islice

from indexer.known_files import KnownFiles
from indexer.listing import Listing
from indexer.sources import Key
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_writer import GalleryWriter

FILES_AT_ONCE = 1000

log = logging.getLogger(__name__)


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


def drop_outlived(writer: GalleryWriter, known: KnownFiles, listing: Listing) -> None:
    """Take out what stands rejected as unreadable and was not listed again.

    It may have been a folder that can be listed now, or the lost end of a tar; no content is known of it.
    """
    if known.missing:
        rejected = _keys(copy(writer.gallery).rejected_batches("archive", "uri"))
        for _ in _drop(writer, (k for k in rejected if known.is_outlived(k) and listing.could_see(k))):
            pass


def drop_gone(writer: GalleryWriter, known: KnownFiles, listing: Listing) -> Iterator[int]:
    """Take the files that are gone out of the gallery; yields how many went, commit by commit.

    An archive none of whose embedded files is there any more keeps them: something else may stand in the
    place of a disk that is not mounted.
    """
    missing = filter(known.is_embedded, unlisted(writer.gallery, known, listing))
    lost = Counter(archive for archive, _ in missing if archive not in known.met_archives)
    for archive, files in lost.items():
        log.warning(
            "%s: none of its %d files is there any more; --prune left them. "
            "If they are really gone: delete --where \"archive = '%s'\"",
            archive,
            files,
            archive.replace("'", "''"),
        )
    gone = unlisted(writer.gallery, known, listing)
    yield from _drop(writer, (key for key in gone if key[0] not in lost and listing.is_gone(key)))


def _drop(writer: GalleryWriter, files: Iterator[Key]) -> Iterator[int]:
    """Take `files` out of the gallery; yields how many went, commit by commit."""
    while some := list(islice(files, FILES_AT_ONCE)):
        for archive in dict.fromkeys(of for of, _ in some):
            writer.remove(archive, [uri for of, uri in some if of == archive])
        yield len(some)


def _keys(batches: Iterable[tuple[list, ...]]) -> Iterator[Key]:
    for archives, uris in batches:
        yield from zip(archives, uris, strict=True)
