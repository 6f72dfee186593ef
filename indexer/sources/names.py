"""What files are called inside an archive, whatever bytes and paths their names hold."""

import posixpath
import re

WHOLE = "."
"""The uri of what is wrong with an archive as a whole; no file has it."""

_NOT_UTF_8 = re.compile("[\udc80-\udcff]")
_ENCODED_BYTE = re.compile("%([89A-F][0-9A-F])")
_DRIVE = re.compile("[A-Za-z]:")


def storable(name: str) -> str:
    r"""Return `name` with the bytes that are not UTF-8 percent-encoded: b"caf\xe9" becomes "caf%E9".

    Such bytes reach Python as lone surrogates, which no table of text takes.
    """
    return _NOT_UTF_8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)


def unstored(uri: str) -> str:
    """Return the name that `storable` made `uri` of, if that name is not UTF-8."""
    return _ENCODED_BYTE.sub(lambda byte: chr(0xDC00 + int(byte[1], 16)), uri)


def member_uri(name: str) -> tuple[str, str | None]:
    """Return the uri for a name from inside an archive, and why it must not be opened, if so."""
    uri = posixpath.normpath(name)
    if uri == WHOLE:
        return WHOLE, "it has no name"
    if _leads_out(name):
        return storable(name), "its name leads out of the archive"
    return storable(uri), None


def _leads_out(name: str) -> bool:
    """Tell whether a name is absolute, or climbs above where it starts, on any system."""
    first, *others = re.split(r"[/\\]", name)
    if not first or (others and _DRIVE.fullmatch(first)):
        return True
    depth = 0
    for part in (first, *others):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return True
    return False
