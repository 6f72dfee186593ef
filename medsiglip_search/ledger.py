"""The list of a gallery's files, kept in step with its folder by the one writer."""

import logging
from collections.abc import Iterable
from pathlib import Path

from medsiglip_search import checksums, gallery_folder, soundness
from medsiglip_search.errors import GalleryDamaged
from medsiglip_search.gallery_folder import RUNS
from medsiglip_search.table_files import HOW_TO_RESTORE, VERSIONS

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

        after_interruption: there may be such a change. leave_out: a file that may still change.
        Raises GalleryDamaged where list and folder differ for another reason: what became of a file that is
        not listed cannot be known. Reports of runs may be gone: nothing is made of them. Raises GalleryError.
        """
        self.clear_away()
        listed = soundness.read_list(self._path)
        self._digests = dict(listed.digests)
        there = gallery_folder.lasting_files(self._path) - {leave_out}
        differing = soundness.differences(self._path, there, self._digests)
        lost = (
            soundness.unexplained(self._path, differing, self._digests) if after_interruption else differing
        )
        for name, what in lost.items():
            if what == soundness.MISSING and name.startswith(f"{RUNS}/"):
                log.warning("%s: %s; it was but the report of a run", self._path / name, what)
                continue
            raise GalleryDamaged(
                f"{self._path / name}: {what}. Run verify to see if more is damaged. {HOW_TO_RESTORE}"
            )
        if differing or listed.torn:
            self.write_anew(leave_out)

    def clear_away(self) -> None:
        """Remove what a killed writer had begun, and hints that lag behind. Raises GalleryError."""
        with gallery_folder.writing(self._path):
            gallery_folder.sweep(self._path)
            gallery_folder.remove_wrong_hints(self._path)

    def require_sound(self, names: Iterable[str]) -> None:
        """Raise GalleryDamaged unless these files are as they were noted."""
        soundness.require_sound(self._path, names, self._digests)

    def add_new(self, leave_out: str | None = None) -> None:
        """Note the files that are new; one of them may still change. Raises GalleryError."""
        with gallery_folder.writing(self._path):
            new = gallery_folder.lasting_files(self._path) - self._digests.keys() - {leave_out}
            if new:
                # If this is cut short, a version that is listed has all its files and all before it listed.
                versions = {name for name in new if f"/{VERSIONS}/" in name}
                names = [*sorted(new - versions), *sorted(versions, reverse=True)]
                digests = checksums.digests_of(self._path, names)
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
