"""Lists of files with their SHA-256, in the format that `sha256sum --check` takes.

A line is `<hex>  <path relative to the list's folder>`; no path has a space. A list grows by whole lines; its
last one can be torn, by a kill or a full disk.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medsiglip_search.files import digest, write_file

FILES = "files.sha256"

_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says.

    digests: by path. torn: its last line has no end; it is left out. problem: what no writer does to a list.
    """

    digests: Mapping[str, str]
    torn: bool = False
    problem: str | None = None


def read_list(folder: Path) -> Listed:
    """Return what the list in `folder` says. Raises OSError, FileNotFoundError where there is none."""
    *lines, rest = (folder / FILES).read_bytes().decode("utf-8", "replace").split("\n")
    matches = [_LINE.fullmatch(line.removesuffix("\r")) for line in lines]
    malformed = [number for number, match in enumerate(matches, 1) if not match]
    problem = None
    if malformed:
        problem = f"line {malformed[0]} is none"
    elif any(line.endswith("\r") for line in lines):
        problem = "its line ends were changed"
    return Listed({match[2]: match[1] for match in matches if match}, bool(rest), problem)


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of these files in `folder`, which are on the disk from now on. Raises OSError."""
    digests = {}
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        digests[name] = digest(folder / name)
    return digests


def append_to_list(folder: Path, digests: Mapping[str, str]) -> None:
    """Add to the list in `folder`, whose last line must be whole. Raises OSError."""
    with (folder / FILES).open("ab") as file:
        file.write(_lines(digests))
        file.flush()
        os.fsync(file.fileno())


def write_list(folder: Path, digests: Mapping[str, str]) -> None:
    """Put a list of these files in place of the one in `folder`, if any. Raises OSError."""
    write_file(folder / FILES, _lines(digests))


def _lines(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{hexadecimal}  {name}\n" for name, hexadecimal in digests.items()).encode()
