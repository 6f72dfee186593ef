"""The galleries of a service: loaded beside its first requests, kept at their newest version."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from medsiglip_search.encoders import Encoder, load_encoder_of
from medsiglip_search.errors import GalleryError, GalleryOutdated, Unavailable
from medsiglip_search.gallery import Gallery
from medsiglip_search.queries import Query
from medsiglip_search.querying.selections import Selections
from medsiglip_search.records import Result
from medsiglip_search.search import Searcher
from medsiglip_search.service.facets import Facets
from medsiglip_search.service.joining import Joiner
from medsiglip_search.service.mapping import Maps

REFRESH_S = 1.0

UNREADABLE = "it cannot be read ({}); an administrator can check it with verify"
NO_ENCODER = "its encoder cannot be loaded ({}); an administrator finds the reason in the service's log"

log = logging.getLogger(__name__)


class View:
    """One version of a gallery, and what is derived from it when it is first needed."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher

    @property
    def gallery(self) -> Gallery:
        return self.searcher.gallery

    @property
    def selections(self) -> Selections:
        return self.searcher.selections

    @cached_property
    def facets(self) -> Facets:
        return Facets(self.gallery, self.selections)

    @cached_property
    def maps(self) -> Maps:
        return Maps(self.gallery)


class OpenGallery:
    """A gallery under the name that users know.

    problem: why it cannot be asked, or stays at an older version, as anybody may read it; None where all is
    well. loaded: set when it can be asked.
    """

    def __init__(self, name: str, path: Path, count: Callable[[int], None] = lambda size: None) -> None:
        self.name = name
        self.path = path
        self.problem: str | None = "it is being loaded; ask again soon"
        self.loaded = threading.Event()
        self._view: View | None = None
        self._joiner = Joiner(self._answer, count)

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked."""
        return self._view is not None

    @property
    def view(self) -> View:
        """Its newest version. Raises Unavailable while there is none."""
        if self._view is None:
            raise Unavailable(f"gallery {self.name}: {self.problem}")
        return self._view

    def search(self, query: Query) -> Result:
        """Return the answer to `query`, found together with what else is asked now. Raises as `Searcher`."""
        self.view  # noqa: B018 - says why it cannot be asked
        return self._joiner.ask(query)

    def open(self, encoder_of: Callable[[Gallery], Encoder]) -> None:
        """Open it; what is wrong with it becomes its problem."""
        failed = UNREADABLE
        try:
            gallery = Gallery.open(self.path)
            failed = NO_ENCODER
            encoder = encoder_of(gallery)
            failed = UNREADABLE
            self._view = View(Searcher.open(self.path, encoder))
            self.problem = None
            self.loaded.set()
        except Exception as error:  # one that ends this thread would leave every gallery as it is, for ever
            self._failed(failed, error)

    def refresh(self) -> None:
        """Go to the newest version; at an older one it stays where that cannot be read."""
        if self._view is None:
            return
        try:
            if not self._view.gallery.is_newest:
                newest = self._view.searcher.refreshed()
                if newest is not self._view.searcher:
                    self._view = View(newest)
            self.problem = None
        except (GalleryError, OSError) as error:
            self._failed(UNREADABLE, error)

    def close(self) -> None:
        """Answer what waits, and end."""
        self._joiner.close()

    def _answer(self, queries: Sequence[Query]) -> list[Result]:
        try:
            return self.view.searcher.search_all(queries)
        except GalleryOutdated:
            # Compacted while it was asked: the newest version has the same images.
            self.refresh()
            return self.view.searcher.search_all(queries)

    def _failed(self, what: str, error: BaseException) -> None:
        problem = what.format(type(error).__name__)
        if problem != self.problem:
            reason = error if what is NO_ENCODER else None  # others name what is in the gallery
            log.warning("gallery %s: %s", self.name, problem, exc_info=reason)
        self.problem = problem


class Galleries(Mapping[str, OpenGallery]):
    """All galleries by name. Encoders that several share are loaded once."""

    def __init__(
        self,
        paths: Mapping[str, Path],
        device: str = "auto",
        count: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._open = {name: OpenGallery(name, path, count) for name, path in paths.items()}
        self._device = device
        self._encoders: dict[tuple[str, str], Encoder] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, name="galleries", daemon=True)

    def start(self) -> None:
        """Load them, and look for new versions from then on; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, and end."""
        self._stop.set()
        for gallery in self._open.values():
            gallery.close()

    def __getitem__(self, name: str) -> OpenGallery:
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def _keep_fresh(self) -> None:
        for gallery in self._open.values():
            gallery.open(self._encoder_of)
        while not self._stop.wait(REFRESH_S):
            for gallery in self._open.values():
                if gallery.is_ready:
                    gallery.refresh()
                else:  # it may have been put right
                    gallery.open(self._encoder_of)

    def _encoder_of(self, gallery: Gallery) -> Encoder:
        meta = gallery.meta
        if (key := (meta.encoder, meta.revision)) not in self._encoders:
            encoder = load_encoder_of(meta, device=self._device)
            # Its towers are loaded when they are first needed: not with a user's first query.
            encoder.embed_texts(["x"])
            encoder.embed_images([np.zeros((meta.spec.size, meta.spec.size, 3), np.uint8)])
            self._encoders[key] = encoder
        return self._encoders[key].with_spec(meta.spec)
