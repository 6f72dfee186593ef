"""The list of a gallery's files, kept in step with its folder by the one writer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsiglip_search import checksums, gallery_folder
from medsiglip_search.checksums import FILES
from medsiglip_search.errors import GalleryDamaged, GalleryError
from medsiglip_search.gallery_table import HOW_TO_RESTORE

log = logging.getLogger(__name__)


class Ledger:
    """Notes the digests of files that are never written again, after each commit that made some.

    Between the commit and the note a kill can come; the next writer then settles it.
    """

    def __init__(self, path: Path) -> None:
        """path: the gallery's folder."""
        self._path = path
        self._digests: dict[str, str] = {}

    def settle(self, after_interruption: bool) -> None:
        """Read the list, and mend what a change that did not come to its end left of it and beside it.

        after_interruption: files that are gone may have been removed in such a change, and are noted no more.
        Raises GalleryDamaged, GalleryError.
        """
        with _writing(self._path):
            gallery_folder.sweep(self._path)
            if after_interruption:
                gallery_folder.remove_hints(self._path)
            try:
                listed = checksums.read_list(self._path)
            except FileNotFoundError:
                log.warning("%s: %s was missing and is made anew", self._path, FILES)
                listed = checksums.Listed({}, torn=True)
        if listed.malformed:
            raise GalleryDamaged(
                f"{self._path}: line {listed.malformed[0]} of {FILES} is none. Run verify to see if more is "
                f"damaged. {HOW_TO_RESTORE}"
            )
        self._digests = dict(listed.digests)
        if after_interruption or listed.torn:
            self.write_anew()
        else:
            self.add_new()

    def add_new(self, leave_out: str | None = None) -> None:
        """Note the files that are new; one of them may still change. Raises GalleryError."""
        with _writing(self._path):
            new = gallery_folder.lasting_files(self._path) - self._digests.keys() - {leave_out}
            if new:
                digests = checksums.digests_of(self._path, sorted(new))
                checksums.append_to_list(self._path, digests)
                self._digests |= digests

    def write_anew(self, leave_out: str | None = None) -> None:
        """Note the files that are new, and no longer those that were removed. Raises GalleryError."""
        with _writing(self._path):
            there = gallery_folder.lasting_files(self._path) - {leave_out}
            kept = {name: digest for name, digest in self._digests.items() if name in there}
            digests = kept | checksums.digests_of(self._path, sorted(there - kept.keys()))
            checksums.write_list(self._path, digests)
            self._digests = digests


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{path}: cannot be written: {error.strerror}. What was committed before is kept; run again"
        ) from error
