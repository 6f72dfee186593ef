"""The label sets that come along."""

from pathlib import Path

from medsiglip_search.errors import InvalidLabelSet
from medsiglip_search.labels import LabelSet
from medsiglip_search.labels.reading import parse_label_set

FOLDER = Path(__file__).parent / "sets"


def shipped_names() -> tuple[str, ...]:
    """Return the names of all shipped sets, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def shipped_text(name: str) -> str:
    """Return the YAML of a shipped set. Raises InvalidLabelSet for another name."""
    if name not in shipped_names():
        raise InvalidLabelSet(
            f"{name!r}: no such label set; name a YAML file, or one of {', '.join(shipped_names())}"
        )
    return (FOLDER / f"{name}.yaml").read_text("utf-8")


def shipped_label_set(name: str) -> LabelSet:
    """Return a shipped set. Raises InvalidLabelSet for another name."""
    return parse_label_set(shipped_text(name), name, name)
