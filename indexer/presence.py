"""Whether the files behind a gallery's rows are still there."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from indexer.sources import Source, open_source
from medsiglip_search.errors import ArchiveNotFound
from medsiglip_search.gallery import Gallery


class Gone(NamedTuple):
    """A file that rows of a gallery came from and that is no longer there.

    uri: None where the whole archive cannot be opened, which tells nothing of its files.
    """

    archive: str
    uri: str | None


def gone(gallery: Gallery, archives: Sequence[str] | None = None) -> Iterator[Gone]:
    """Yield the files behind the rows of a gallery that are no longer there, each once, by archive and name.

    archives: those to look at, as `index` takes them; all that the gallery names by default. A stored name
        lacks the credentials of a URL.
    Raises ArchiveNotFound for one of `archives`.
    """
    uris: dict[str, set[str]] = defaultdict(set)
    for names in gallery.cell_batches("archive", "uri"):
        for archive, uri in zip(*names, strict=True):
            uris[archive].add(uri)
    if archives is None:
        for archive in sorted(uris):
            yield from _gone(archive, uris[archive])
    else:
        for source in map(open_source, archives):
            yield from _missing(source, uris[source.archive])


def _gone(archive: str, uris: set[str]) -> Iterator[Gone]:
    try:
        source = open_source(archive)
    except ArchiveNotFound:
        yield Gone(archive, None)
    else:
        yield from _missing(source, uris)


def _missing(source: Source, uris: set[str]) -> Iterator[Gone]:
    for entry in source.entries():
        uris.discard(entry.uri)
    for uri in sorted(uris):
        if not source.holds(uri):
            yield Gone(source.archive, uri)
