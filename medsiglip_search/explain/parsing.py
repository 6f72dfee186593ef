"""A model's answer to its parts: sentences, and the JSON after them, read as leniently as can be."""

import json
import re
from dataclasses import dataclass
from typing import Any

from medsiglip_search.explain.chat import Tell
from medsiglip_search.explain.plain_text import plain

MOST_FINDINGS = 40
MOST_NESTED = 4
"""Objects that may stand within the one with the findings, and before them."""

_NOTHING = frozenset({"", "none", "null", "n/a", "no", "normal", "unknown", "not applicable", "nothing"})
_SIDES = {
    "left": "left",
    "l": "left",
    "left-sided": "left",
    "right": "right",
    "r": "right",
    "right-sided": "right",
    "both": "both",
    "bilateral": "both",
    "left and right": "both",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A finding that an answer names. side: "left", "right", "both" or None. place: "" where none is told."""

    finding: str
    side: str | None = None
    place: str = ""

    def __str__(self) -> str:
        return {None: "", "both": "bilateral "}.get(self.side, f"{self.side} ") + self.finding


@dataclass(frozen=True, slots=True)
class Description:
    """An answer to the question what a picture shows. text: its sentences, plain.

    parsed: whether it held the JSON that was asked for; else only `text` is there.
    """

    text: str
    modality: str = ""
    findings: tuple[Named, ...] = ()
    normal: tuple[str, ...] = ()
    parsed: bool = False


def parse_description(answer: str) -> Description:
    """Return the parts of an answer; what cannot be parsed is all text. Linear in the answer's length."""
    found = _last_object(answer)
    if found is None:
        return Description(plain(answer))
    start, end, value = found
    before, after = _unfenced(answer[:start]), _unfenced(answer[end:])
    text = plain(f"{before}\n{after}".strip())
    findings = value.get("findings")
    own = value.get("description")
    return Description(
        text or (plain(own) if isinstance(own, str) else "") or _sentence(value),
        _words(value.get("modality")),
        tuple(dict.fromkeys(_findings(findings))),
        tuple(filter(None, map(_words, _list(value.get("normal")))))[:MOST_FINDINGS],
        isinstance(findings, list | str | dict),
    )


class Sentences:
    """Passes on the sentences of an answer while it is made, up to where its JSON begins."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._ended = False
        self._held = ""  # the space before what may be JSON

    def __call__(self, piece: str) -> None:
        if self._ended:
            return
        before, *rest = re.split("[`{]", self._held + piece, maxsplit=1)
        self._ended = bool(rest)
        said = before.rstrip()
        self._held = before[len(said) :]
        if said:
            self._tell(said)


def _last_object(answer: str) -> tuple[int, int, dict[str, Any]] | None:
    """Return where the last JSON object with findings stands; one that was cut off is closed."""
    keys = list(re.finditer(r"""["']findings["']""", answer))
    start = keys[-1].start() if keys else 0
    for _ in range(MOST_NESTED):
        start = answer.rfind("{", 0, start)
        if start < 0:
            return None
        rest = answer[start:]
        python = _of_python(rest)
        for text, whole in ((rest, True), (python, False), (_closed(rest), False), (_closed(python), False)):
            try:
                value, length = json.JSONDecoder(strict=False).raw_decode(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and "findings" in value:
                return start, start + length if whole else len(answer), value
    return None


def _of_python(text: str) -> str:
    """Return the JSON of what models write in Python's way: 'x', None, trailing commas."""
    text = re.sub(r"(?<=[\[{,:\s])'([^'\n]*)'(?=\s*[,:\]}])", r'"\1"', text)
    text = re.sub(r"\bNone\b", "null", text)
    return re.sub(r",(\s*[\]}])", r"\1", text)


def _closed(text: str) -> str:
    """Return JSON that was cut off, less its last unfinished part, with what it lacks at its end."""
    open_: list[str] = []
    quoted = escaped = False
    last, closing = 0, ""
    for place, c in enumerate(text):
        if quoted:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                quoted = False
        elif c == '"':
            quoted = True
        elif c in "{[":
            open_.append("}" if c == "{" else "]")
        elif c in "}]" and open_:
            open_.pop()
            last, closing = place + 1, "".join(reversed(open_))
            if not open_:
                break
    return text[:last] + closing


def _findings(value: Any) -> list[Named]:
    named = []
    for each in _list(value)[:MOST_FINDINGS]:
        if isinstance(each, dict):
            name = _words(each.get("finding") or each.get("name"))
            side = _SIDES.get(_words(each.get("side")).lower())
            place = _words(each.get("place") or each.get("location"))
            if each.get("present") is False or _words(each.get("status")).lower() in ("absent", "no"):
                continue
        else:
            name, side, place = _words(each), None, ""
        first, _, rest = name.partition(" ")
        if rest and first.lower() in _SIDES and len(first) > 1:
            name, side = rest, _SIDES[first.lower()]
        if name.lower() not in _NOTHING and not name.lower().startswith(("no ", "without ")):
            named.append(Named(name.lower(), side, "" if place.lower() in _NOTHING else place))
    return named


def _list(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [{"finding": name, **each} if isinstance(each, dict) else name for name, each in value.items()]
    if isinstance(value, str):
        return [part for part in re.split(r"[;,]", value) if part.strip()]
    return value if isinstance(value, list) else []


def _words(value: Any) -> str:
    """Return a short plain text, empty for anything else."""
    return " ".join(plain(value).split())[:80] if isinstance(value, str) else ""


def _sentence(value: dict[str, Any]) -> str:
    """Return JSON that came alone as a sentence."""
    named = ", ".join(map(str, _findings(value.get("findings")))) or "no finding"
    modality = _words(value.get("modality"))
    return f"{modality}: {named}." if modality else f"{named[:1].upper()}{named[1:]}."


def _unfenced(text: str) -> str:
    return re.sub(r"```(?:json)?\s*", "", text).strip()
