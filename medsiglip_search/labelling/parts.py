"""A file that is written in parts, so that a run that was killed goes on after the last whole one.

.NAME.unfinished/   beside the file: plan.json, and for each part its rows and what is counted of them
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medsiglip_search import locks
from medsiglip_search.errors import UnusableFile
from medsiglip_search.files import UNFINISHED, write_file

_PLAN, _LOCK, _WHOLE = "plan.json", "lock", "whole"


class Parts:
    """The parts of one file, in its unfinished folder. What is there was made to the same plan.

    begun_anew: why parts that were there are not gone on with, None if there were none.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        """path: of the file. plan: whatever its content depends on, as JSON has it."""
        self.path = path
        self.folder = _folder(path)
        self.begun_anew = self._begin(plan)
        self.notes = self._whole()

    def rows_of(self, number: int) -> Path:
        """Return where the rows of a part are."""
        return self.folder / f"{number:06}{self.path.suffix}"

    def begin(self) -> Path:
        """Return where the rows of the next part are to be written."""
        return self.folder / (_WHOLE + UNFINISHED)

    def end(self, note: Mapping[str, Any]) -> None:
        """Keep what was written to `begin` as the next part; note: what is to be known of it."""
        number = len(self.notes)
        # What is known of the rows stands before they do: where there are rows there is a note.
        write_file(self.folder / f"{number:06}.json", json.dumps(note).encode())
        _sync(self.begin())
        os.replace(self.begin(), self.rows_of(number))
        self.notes.append(dict(note))

    def finish(self, whole: Path) -> None:
        """Put the file `whole`, made of all parts in the folder, in its place, and remove the folder."""
        _sync(whole)
        os.replace(whole, self.path)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, plan: Mapping[str, Any]) -> str | None:
        written = json.dumps(plan, sort_keys=True, indent=1)
        try:
            before = (self.folder / _PLAN).read_text()
        except (OSError, ValueError):
            before = None
        if before == written:
            return None
        for one in self.folder.iterdir():
            if one.name != _LOCK:
                one.unlink()
        write_file(self.folder / _PLAN, written.encode())
        return None if before is None else _difference(before, plan)

    def _whole(self) -> list[dict[str, Any]]:
        """Return the notes of the parts that are whole, one after the other."""
        notes: list[dict[str, Any]] = []
        while self.rows_of(len(notes)).exists():
            notes.append(json.loads((self.folder / f"{len(notes):06}.json").read_bytes()))
        return notes


@contextmanager
def parts_of(path: Path, plan: Mapping[str, Any]) -> Iterator[Parts]:
    """Yield the parts of the file at `path`, which no other process is writing.

    Raises UnusableFile if one is, or where nothing can be written.
    """
    folder = _folder(path)
    try:
        folder.mkdir(exist_ok=True)
        with locks.exclusive(folder / _LOCK):
            yield Parts(path, plan)
    except locks.Held:
        raise UnusableFile(f"{path}: another process is writing it. Wait for its end, or stop it") from None
    except OSError as error:
        why = error.strerror or " ".join(str(error).split())
        raise UnusableFile(
            f"{path}: cannot be written: {why}. Make room or name another place, and run again"
        ) from error


def _folder(path: Path) -> Path:
    return path.with_name(f".{path.name}{UNFINISHED}")


def _difference(before: str, plan: Mapping[str, Any]) -> str:
    """Return what is not as it was when the parts that were there were made."""
    try:
        old = dict(json.loads(before))
    except (ValueError, TypeError):
        return "its plan cannot be read"
    differing = [name for name in plan if old.get(name) != plan[name]]
    return f"made with another {' and '.join(differing) or 'plan'}"


def _sync(path: Path) -> None:
    """Have a file that is whole on the disk, too."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
