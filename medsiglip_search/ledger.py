"""The list of a gallery's files, kept in step with its folder by the one writer."""

import logging
from pathlib import Path

from medsiglip_search import checksums, gallery_folder
from medsiglip_search.checksums import FILES
from medsiglip_search.errors import GalleryDamaged, GalleryError
from medsiglip_search.table_files import HOW_TO_RESTORE

log = logging.getLogger(__name__)


class Ledger:
    """Notes the digests of files that are never written again, after each commit that made some.

    Between the commit and the note a kill can come; the next writer then settles it.
    """

    def __init__(self, path: Path) -> None:
        """path: the gallery's folder."""
        self._path = path
        self._digests: dict[str, str] = {}

    def settle(self, after_interruption: bool, leave_out: str | None = None) -> None:
        """Read the list, and mend what a change that did not come to its end left of it and beside it.

        after_interruption: files that are gone may have been removed in such a change, and are noted no more.
        leave_out: a file that may still change. Raises GalleryDamaged, GalleryError.
        """
        with gallery_folder.writing(self._path):
            gallery_folder.sweep(self._path)
            gallery_folder.remove_wrong_hints(self._path)
        listed = self._read()
        self._digests = dict(listed.digests)
        if after_interruption or listed.torn:
            self.write_anew(leave_out)
        else:
            self.add_new(leave_out)

    def add_new(self, leave_out: str | None = None) -> None:
        """Note the files that are new; one of them may still change. Raises GalleryError."""
        with gallery_folder.writing(self._path):
            new = gallery_folder.lasting_files(self._path) - self._digests.keys() - {leave_out}
            if new:
                digests = checksums.digests_of(self._path, sorted(new))
                checksums.append_to_list(self._path, digests)
                self._digests |= digests

    def write_anew(self, leave_out: str | None = None) -> None:
        """Note the files that are new, and no longer those that were removed. Raises GalleryError."""
        with gallery_folder.writing(self._path):
            there = gallery_folder.lasting_files(self._path) - {leave_out}
            kept = {name: digest for name, digest in self._digests.items() if name in there}
            digests = kept | checksums.digests_of(self._path, sorted(there - kept.keys()))
            checksums.write_list(self._path, digests)
            self._digests = digests

    def _read(self) -> checksums.Listed:
        try:
            listed = checksums.read_list(self._path)
        except FileNotFoundError:
            log.warning("%s: %s was missing and is made anew", self._path, FILES)
            return checksums.Listed({}, torn=True)
        except OSError as error:
            raise GalleryError(
                f"{self._path}: {FILES} cannot be read: {error.strerror}. Check the disk"
            ) from error
        if listed.malformed:
            raise GalleryDamaged(
                f"{self._path}: line {listed.malformed[0]} of {FILES} is none. Run verify to see if more is "
                f"damaged. {HOW_TO_RESTORE}"
            )
        return listed
