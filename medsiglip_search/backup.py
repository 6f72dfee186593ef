"""A copy of one version of a gallery, taken while others read and write it."""

import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from medsiglip_search import gallery_folder, soundness
from medsiglip_search.errors import GalleryDamaged, GalleryError
from medsiglip_search.files import UNFINISHED
from medsiglip_search.gallery import Gallery
from medsiglip_search.table_files import HOW_TO_RESTORE

_CHUNK = 1 << 22


def back_up(gallery: Gallery, to: str | os.PathLike[str]) -> Gallery:
    """Copy the version that `gallery` is on to the new folder `to`; return the copy.

    The files of that version are copied as they are, each compared with its digest: the copy has the same
    version, ids, key and run reports. (Lance's own clone would keep the path of this gallery in the other.)
    Where a writer removes the version meanwhile, `gallery` goes to the newest one and that is copied. The
    copy is made under another name, so that what stands at `to` is whole.

    Raises GalleryError if something stands at `to` or it cannot be written, GalleryDamaged for a file that is
    missing or not as it was written.
    """
    to = Path(to)
    if to.exists() or to.resolve().is_relative_to(gallery.path.resolve()):
        raise GalleryError(f"{to}: something stands there already. Name a new folder")
    copy = to.with_name(to.name + UNFINISHED)
    try:
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        digests = _copied(gallery, copy)
        gallery_folder.complete(copy, gallery_folder.meta_bytes(gallery.meta), digests)
        copy.rename(to)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise GalleryError(
            f"{to}: {gallery.path} cannot be copied there: {error.strerror}{where}. Name another folder"
        ) from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return Gallery.open(to)


def _copied(gallery: Gallery, to: Path) -> Mapping[str, str]:
    """Copy the files of the gallery's version; return their digests."""
    digests: dict[str, str] = {}
    while True:
        names, state = gallery.files(), gallery.state
        listed = soundness.read_list(gallery.path).digests
        try:
            for name in names:
                if name not in digests:
                    digests[name] = _copy(gallery.path / name, to / name, listed.get(name))
        except FileNotFoundError as error:
            gallery.refresh()
            if gallery.state == state:
                raise GalleryDamaged(f"{error.filename}: missing. {HOW_TO_RESTORE}") from None
        else:
            break
    # Of a version that was begun, and removed before all of it was copied.
    for name in digests.keys() - names:
        (to / name).unlink()
    return {name: digests[name] for name in names}


def _copy(source: Path, target: Path, expected: str | None) -> str:
    """Copy a file, which is on the disk afterwards; return its digest, which must be `expected` if given.

    A file is not listed in the moment between its commit and the note of it.
    """
    hashed = sha256()
    with source.open("rb") as file:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The key is nobody else's to read, not even while it is copied.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
                copy.write(chunk)
            os.fchmod(descriptor, os.fstat(file.fileno()).st_mode & 0o777)
            copy.flush()
            os.fsync(descriptor)
    if expected not in (None, hashed.hexdigest()):  # as `soundness.require_sound`, in one reading
        raise GalleryDamaged(f"{source}: not as it was written. {HOW_TO_RESTORE}")
    return hashed.hexdigest()
