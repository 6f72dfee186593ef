"""Tar and zip files made in a test."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

Files = Iterable[tuple[str, bytes]]
"""Name and content, as they lie in the archive."""


def tar(path: Path, files: Files, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:
        for name, content in files:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            packed.addfile(header, io.BytesIO(content))
    return path


def zipped(path: Path, files: Files, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files:
            packed.writestr(zipfile.ZipInfo(name), content, method)
    return path


FORMATS: dict[str, Callable[[Path, Files], Path]] = {
    "tar": lambda path, files: tar(path, files),
    "tar.gz": lambda path, files: tar(path, files, "w:gz"),
    "tar.bz2": lambda path, files: tar(path, files, "w:bz2"),
    "tar.xz": lambda path, files: tar(path, files, "w:xz"),
    "zip": lambda path, files: zipped(path, files),
    "deflated zip": lambda path, files: zipped(path, files, zipfile.ZIP_DEFLATED),
    "bzip2 zip": lambda path, files: zipped(path, files, zipfile.ZIP_BZIP2),
    "lzma zip": lambda path, files: zipped(path, files, zipfile.ZIP_LZMA),
}
