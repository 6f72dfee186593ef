"""Lines that each hold the hash of the line before, so that none can be changed, taken out or put in.

    {"seq":7,"time":...,"outcome":"done","previous":"<64 hex digits>","hash":"<64 hex digits>"}

The hash is the SHA-256 of the digits of `previous` and the line without both: {"seq":7,...,"outcome":"done"}
"""

import hashlib
from dataclasses import dataclass

DIGITS = 64


class Broken(Exception):
    """A line that does not stand where it was written, or as it was. The message says which of both."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a chain ends: number and hash of its last line, and the length of all lines in bytes."""

    seq: int
    hash: str
    size: int


START = End(0, "0" * DIGITS, 0)


def add(end: End, fields: str) -> tuple[bytes, End]:
    """Return the line that comes next, with these fields (JSON without braces), and the new end."""
    body = f'{{"seq":{end.seq + 1},{fields}'.encode("ascii")
    line, digest = _sealed(body, end.hash)
    return line, End(end.seq + 1, digest, end.size + len(line))


def follow(end: End, line: bytes) -> End:
    """Return the new end after a whole line, with its line break. Raises Broken."""
    body, previous = _opened(line)
    sealed, digest = _sealed(body, previous.decode("latin-1"))
    if sealed != line:
        raise Broken(f"record {end.seq + 1} was changed")
    if previous != end.hash.encode() or not body.startswith(b'{"seq":%d,' % (end.seq + 1)):
        raise Broken(f"record {end.seq + 1} is not in its place: another one stands there")
    return End(end.seq + 1, digest, end.size + len(line))


def is_last(end: End, line: bytes) -> bool:
    """Tell whether this is the line that a chain of this end ends with."""
    _, previous = _opened(line)
    before = End(end.seq - 1, previous.decode("latin-1"), end.size - len(line))
    try:
        return follow(before, line) == end
    except Broken:
        return False


_PREVIOUS, _HASH, _CLOSE = b',"previous":"', b'","hash":"', b'"}\n'
_SEAL_BYTES = len(_PREVIOUS) + len(_HASH) + len(_CLOSE) + 2 * DIGITS


def _sealed(body: bytes, previous: str) -> tuple[bytes, str]:
    """Return the line of this body, which has no closing brace, and its hash."""
    before = previous.encode("latin-1")
    digest = hashlib.sha256(before + body + b"}").hexdigest()
    return b"".join((body, _PREVIOUS, before, _HASH, digest.encode(), _CLOSE)), digest


def _opened(line: bytes) -> tuple[bytes, bytes]:
    """Return the body of a line, without its closing brace, and what stands where the hash before should."""
    start = len(line) - _SEAL_BYTES + len(_PREVIOUS)
    return line[:-_SEAL_BYTES], line[start : start + DIGITS]
