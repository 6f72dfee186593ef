"""Label sets as YAML text, for people to read and change: what `reading` takes back."""

import json
import re
from collections.abc import Iterator, Sequence

from medsiglip_search.labels import Label, LabelSet

# What stands for itself without quotes, whatever YAML takes other words for.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 /()+-]*[A-Za-z0-9)]")
_OTHER_THAN_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null"})


def yaml_of(label_set: LabelSet) -> str:
    """Return a set as YAML text. Its templates are filled in, since it holds them no more."""
    return "\n".join(_lines(label_set)) + "\n"


def _lines(label_set: LabelSet) -> Iterator[str]:
    yield f"name: {_text(label_set.name)}"
    yield f"mode: {label_set.mode}"
    for key, text in (("source", label_set.source), ("notes", label_set.notes)):
        if text:
            yield f"{key}: {_text(text)}"
    yield "labels:"
    for label in label_set.labels:
        yield f"  {_text(label.name)}:"
        yield from _label(label, label_set.mode == "findings")


def _label(label: Label, is_finding: bool) -> Iterator[str]:
    yield f"    {'present' if is_finding else 'prompts'}: {_texts(label.prompts)}"
    if is_finding:
        yield f"    absent: {_texts(label.absent)}"
    if label.threshold is not None:
        yield f"    threshold: {label.threshold!r}"


def _texts(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _OTHER_THAN_TEXT:
        return text
    # JSON's quotes are YAML's, but for what YAML wants escaped, and JSON writes as halves of a character.
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in json.dumps(text, ensure_ascii=False))
