"""Label sets between their YAML and the table in which people change them."""

import json
from collections.abc import Mapping
from typing import Any

from medsiglip_search.errors import InvalidLabelSet
from medsiglip_search.labels import THRESHOLDS, LabelSet, Mode
from medsiglip_search.labels.writing import label_lines, text_of
from medsiglip_search.service.operations.labelling import label_set_text, read_yaml
from ui.templates import html

MOST_LINES = 6


def named_text(name: str) -> str:
    """Return the YAML of a set that comes along, with its name in it. Raises NotFound."""
    text = label_set_text(name)
    return text if read_yaml(text).name == name else f"name: {text_of(name)}\n{text}"


def table_of(yaml: str) -> str:
    """Return the table of a set, or that its YAML has a mistake."""
    try:
        return _table(read_yaml(yaml))
    except InvalidLabelSet:
        return html("label_table.html", problem=True, mode="findings", name="", rows=[], default="")


def state_of(yaml: str) -> str:
    """Return in words what a set holds, or the mistake in it and where that is."""
    try:
        label_set = read_yaml(yaml)
    except InvalidLabelSet as error:
        return html("label_state.html", problem=str(error), label_set=None)
    return html("label_state.html", problem="", label_set=label_set)


def yaml_of_table(told: Mapping[str, Any]) -> str:
    """Return the YAML of a table as its page tells it: mode, name, and rows of text. It may have mistakes."""
    mode: Mode = "exclusive" if told.get("mode") == "exclusive" else "findings"
    lines = [f"name: {text_of(str(told.get('name') or '').strip())}", f"mode: {mode}", "labels:"]
    for row in told.get("rows", ()):
        name, present, absent = (str(row.get(key) or "") for key in ("name", "present", "absent"))
        if not (name + present + absent).strip():
            continue
        threshold = str(row.get("threshold") or "").strip().replace(",", ".")
        written = _number(threshold) if threshold else None
        lines += label_lines(name.strip(), _phrases(present), _phrases(absent), written, mode)
    return "\n".join(lines) + "\n"


def _table(label_set: LabelSet) -> str:
    rows = [
        {
            "name": label.name,
            "present": "\n".join(label.prompts),
            "absent": "\n".join(label.absent),
            "threshold": "" if label.threshold is None else f"{label.threshold:g}",
            "lines": min(MOST_LINES, max(2, len(label.prompts), len(label.absent))),
        }
        for label in label_set.labels
    ]
    default = f"{THRESHOLDS[label_set.mode]:g}"
    return html(
        "label_table.html",
        problem=False,
        mode=label_set.mode,
        name=label_set.name,
        rows=rows,
        default=default,
    )


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _number(text: str) -> str:
    """Return a threshold as YAML has it; what is no number stays a text, and is told as a mistake."""
    try:
        return repr(float(text))
    except ValueError:
        return json.dumps(text)
