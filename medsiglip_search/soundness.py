"""Is what a gallery's list of files says true: which files there are, and that each is as it was written."""

from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from medsiglip_search import checksums
from medsiglip_search.checksums import FILES, Listed
from medsiglip_search.errors import GalleryDamaged, GalleryError
from medsiglip_search.files import UNFINISHED, digest
from medsiglip_search.gallery_folder import RUNS, TABLES
from medsiglip_search.gallery_table import Table
from medsiglip_search.table_files import HOW_TO_RESTORE, VERSIONS, manifest_name, version_of

MISSING, UNLISTED = "missing", f"not listed in {FILES}"

VERSIONS_OF_A_CHANGE = 3
"""How many versions of one table a change makes at most; they are listed at its end."""


def read_list(path: Path) -> Listed:
    """Return the list of the gallery at `path`; its last line may be torn.

    Raises GalleryDamaged if it is lost or no writer can have left it so, GalleryError.
    """
    try:
        listed = checksums.read_list(path)
    except FileNotFoundError:
        raise GalleryDamaged(f"{path / FILES}: {MISSING}. {HOW_TO_RESTORE}") from None
    except OSError as error:
        raise GalleryError(f"{path}: {FILES} cannot be read: {error.strerror}. Check the disk") from error
    if problem := listed.problem or (None if listed.digests else "empty"):
        raise GalleryDamaged(f"{path / FILES}: {problem}. {HOW_TO_RESTORE}")
    return listed


def damage(path: Path, expected: str) -> str | None:
    """Return what is wrong with a file whose digest must be `expected`."""
    try:
        return None if digest(path) == expected else "not as it was written"
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def require_sound(path: Path, names: Iterable[str], digests: Mapping[str, str]) -> None:
    """Raise GalleryDamaged unless these files of the gallery at `path` are as they were written.

    To be called before they are written anew in another form: their damage would be in that, unnoticed. What
    is not listed is passed over: it was written a moment ago, or by a writer that was killed.
    """
    for name in names:
        if name in digests and (problem := damage(path / name, digests[name])):
            raise GalleryDamaged(f"{path / name}: {problem}. {HOW_TO_RESTORE}")


def differences(path: Path, there: Set[str], digests: Mapping[str, str]) -> dict[str, str]:
    """Return the files of which only one of list and folder knows, each with what it is.

    there: the files found in the folder; those that are gone by now are passed over.
    """
    gone = {name: MISSING for name in sorted(digests.keys() - there) if not (path / name).exists()}
    new = {name: UNLISTED for name in sorted(there - digests.keys()) if (path / name).exists()}
    return gone | new


def unexplained(path: Path, differing: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, str]:
    """Return those of the `differences` that no change makes, be it under way or ended half-way.

    A change adds files, lists them at its end, a version after what that is made of, and only then removes
    others, of older versions. The report of a run is listed when that has ended; the next run comes later.
    """
    explained = {name for name in differing if name.endswith(UNFINISHED)}
    reports = {name for name, what in differing.items() if name.startswith(f"{RUNS}/") and what == UNLISTED}
    explained.add(max(reports - explained, default=""))
    for table in TABLES:
        explained |= _explained(path, table, differing, digests)
    return {name: what for name, what in differing.items() if name not in explained}


def _explained(path: Path, table: str, differing: Mapping[str, str], digests: Mapping[str, str]) -> set[str]:
    """Return those of a table's differing files that a change adds or removes."""
    place = f"{table}/{VERSIONS}/"
    versions = {name: version_of(name.removeprefix(place)) for name in (*digests, *differing)}
    # A list without any version explains none.
    newest = max((versions[name] or 0 for name in digests), default=0) or -VERSIONS_OF_A_CHANGE
    needed = _files_of(path, table, newest, digests)
    explained = set()
    for name in (name for name in differing if name.startswith(f"{table}/") and name not in needed):
        version = versions[name]
        of_a_change = version is None or newest < version <= newest + VERSIONS_OF_A_CHANGE
        is_old = version is None or version < newest
        if is_old if differing[name] == MISSING else of_a_change:
            explained.add(name)
    return explained


def _files_of(path: Path, table: str, version: int, digests: Mapping[str, str]) -> set[str]:
    """Return the files that a listed version is made of; its manifest alone if that is damaged."""
    manifest = f"{table}/{VERSIONS}/{manifest_name(version)}"
    if manifest not in digests or damage(path / manifest, digests[manifest]):
        return {manifest}
    try:
        return {manifest, *(f"{table}/{file}" for file in Table.open(path / table, version).files())}
    except GalleryError:  # removed meanwhile
        return {manifest}
