"""Which safetensors files a checkpoint has, whether they are whole, and their fingerprint.

Reads the headers and a sample only: a checkpoint of 3.5 GB takes a fraction of a second.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from medsiglip_search.errors import EncoderUnavailable

WHOLE_FILE_BYTES = 16 << 20  # up to here the digest covers every byte
SAMPLE_BYTES = 4096  # of each tensor, beyond
MAX_HEADER_BYTES = 100_000_000  # the format's own limit


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one checkpoint.

    shapes: of each tensor, by its name.
    digest: sha256 over the headers and the beginning of each tensor, which training always changes.
    """

    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    digest: str

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())


def read_weights(folder: Path, names: Sequence[str] = ("model.safetensors",)) -> Weights:
    """Return the safetensors files of a checkpoint, checked for completeness.

    names: of a file that holds them all, the preferred first; else an index may name several.
    Raises EncoderUnavailable when there are none, or one is missing, truncated or unreadable.
    """
    digest = hashlib.sha256()
    shapes: dict[str, tuple[int, ...]] = {}
    files = _safetensors_files(folder, names)
    for path in files:
        try:
            shapes |= _read_file(path, digest)
        except OSError as error:
            raise EncoderUnavailable(f"{path}: cannot be read ({error.strerror})") from error
    return Weights(files, shapes, digest.hexdigest())


def _safetensors_files(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    for name in names:
        if (folder / name).exists():
            return (folder / name,)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
            if not shards or not all(re.fullmatch(r"[\w.-]+\.safetensors", name) for name in shards):
                raise ValueError("only names of safetensors files of this folder belong here")
            files = tuple(folder / name for name in shards)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EncoderUnavailable(f"{index}: not an index of safetensors files; fetch it again") from error
        if missing := [path.name for path in files if not path.exists()]:
            raise EncoderUnavailable(
                f"{folder}: {len(missing)} of {len(files)} weight files are missing (first {missing[0]}); "
                "fetch them again"
            )
        return files
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise EncoderUnavailable(
            f"{folder}: holds pickled weights only, which can run code when they are opened; "
            f"convert them to {names[0]}, as docs/encoders.md tells"
        )
    raise EncoderUnavailable(f"{folder}: no weights ({names[0]}); fetch the whole checkpoint")


def _read_file(path: Path, digest: "hashlib._Hash") -> dict[str, tuple[int, ...]]:
    """Add one file to the digest and return the shapes of its tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise _broken(path)
        raw = file.read(length)
        tensors = _parse_header(raw, path)
        if 8 + length + max((tensor.end for tensor in tensors), default=0) != size:
            raise _broken(path)
        digest.update(b"%d %d " % (size, length))
        digest.update(raw)
        if size <= WHOLE_FILE_BYTES:
            digest.update(file.read())
        else:
            for tensor in tensors:
                file.seek(8 + length + tensor.start)
                digest.update(file.read(min(tensor.end - tensor.start, SAMPLE_BYTES)))
    return {tensor.name: tensor.shape for tensor in tensors}


class _Tensor(NamedTuple):
    """start, end: in bytes after the header."""

    start: int
    end: int
    name: str
    shape: tuple[int, ...]


def _parse_header(raw: bytes, path: Path) -> list[_Tensor]:
    """Return the tensors in the order of the file."""
    try:
        header: dict[str, Any] = json.loads(raw)
        return sorted(
            _Tensor(
                int(entry["data_offsets"][0]),
                int(entry["data_offsets"][1]),
                name,
                tuple(int(n) for n in entry["shape"]),
            )
            for name, entry in header.items()
            if name != "__metadata__"
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path) from error


def _broken(path: Path) -> EncoderUnavailable:
    return EncoderUnavailable(
        f"{path}: not a whole safetensors file (interrupted download, Git LFS pointer?); fetch it again"
    )
