"""The files behind a gallery's rows, out of whatever archive they lie in."""

from collections.abc import Mapping
from pathlib import Path

from indexer.sources import Entry, open_source
from medsiglip_search.errors import ArchiveNotFound, Reason, Unreadable
from medsiglip_search.explain.gathering import file_in_folder


class ArchiveFiles:
    """Finds files of archives by their names; each archive is listed once, when it is first asked for."""

    def __init__(self) -> None:
        self._listed: dict[str, Mapping[str, Entry]] = {}

    def __call__(self, archive: str, uri: str) -> Path | bytes:
        """Return what decoders open of a file: its path, or its bytes. Raises Unreadable."""
        if Path(archive).is_dir() and (path := file_in_folder(archive, uri)).is_file():
            return path
        entry = self._entries(archive).get(uri)
        if entry is None or entry.problem is not None:
            raise Unreadable(Reason.UNREADABLE, "Its file is no longer in its archive.")
        try:
            return entry.file.content()
        except OSError:
            raise Unreadable(Reason.UNREADABLE, "Its file cannot be read.") from None

    def _entries(self, archive: str) -> Mapping[str, Entry]:
        if archive not in self._listed:
            try:
                self._listed[archive] = {entry.uri: entry for entry in open_source(archive).entries()}
            except ArchiveNotFound:
                raise Unreadable(Reason.UNREADABLE, "Its archive cannot be opened.") from None
        return self._listed[archive]
