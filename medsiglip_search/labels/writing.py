"""Label sets as YAML text, for people to read and change: what `reading` takes back."""

import json
import re
from collections.abc import Iterator, Sequence

from medsiglip_search.labels import LabelSet, Mode

# What stands for itself without quotes, whatever YAML takes other words for.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 /()+-]*[A-Za-z0-9)]")
_OTHER_THAN_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null"})


def yaml_of(label_set: LabelSet) -> str:
    """Return a set as YAML text. Its templates are filled in, since it holds them no more."""
    return "\n".join(_lines(label_set)) + "\n"


def _lines(label_set: LabelSet) -> Iterator[str]:
    yield f"name: {text_of(label_set.name)}"
    yield f"mode: {label_set.mode}"
    for key, text in (("source", label_set.source), ("notes", label_set.notes)):
        if text:
            yield f"{key}: {text_of(text)}"
    yield "labels:"
    for one in label_set.labels:
        threshold = None if one.threshold is None else repr(one.threshold)
        yield from label_lines(one.name, one.prompts, one.absent, threshold, label_set.mode)


def label_lines(
    name: str, prompts: Sequence[str], absent: Sequence[str], threshold: str | None, mode: Mode
) -> Iterator[str]:
    """Yield the lines of one label below `labels:`. threshold: as it is to be written."""
    yield f"  {text_of(name)}:"
    yield f"    {'present' if mode == 'findings' else 'prompts'}: {_texts(prompts)}"
    if mode == "findings":
        yield f"    absent: {_texts(absent)}"
    if threshold is not None:
        yield f"    threshold: {threshold}"


def text_of(text: str) -> str:
    """Return a text as YAML has it, in quotes where it would be another thing without."""
    if _PLAIN.fullmatch(text) and text.lower() not in _OTHER_THAN_TEXT:
        return text
    # JSON's quotes are YAML's, but for what YAML wants escaped, and JSON writes as halves of a character.
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in json.dumps(text, ensure_ascii=False))


def _texts(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(text_of, texts))}]"
