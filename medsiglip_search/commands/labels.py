"""The label sets there are, and what one says."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsiglip_search.commands.options import AsJson
from medsiglip_search.commands.output import print_cells, print_json, print_lines
from medsiglip_search.errors import InvalidQuery
from medsiglip_search.terminal import printable

if TYPE_CHECKING:
    from medsiglip_search.labels import LabelSet


def labels(
    label_set: Annotated[
        str | None, typer.Argument(metavar="LABELSET", help="A shipped set's name, or a YAML file.")
    ] = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the set as it is written, to copy and change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the label sets that come along, or show one; a file of your own is checked by that."""
    from medsiglip_search.labels.opening import names_file, open_label_set
    from medsiglip_search.labels.probe import SUFFIX
    from medsiglip_search.labels.shipped import shipped_label_set, shipped_names, shipped_text

    if label_set is None:
        if as_yaml:
            raise InvalidQuery("--yaml prints one set; name it")
        sets = [shipped_label_set(name) for name in shipped_names()]
        if as_json:
            print_json(_summary(one) for one in sets)
            return
        header = ("label set", "mode", "labels", "source")
        print_cells([header, *((one.name, one.mode, str(len(one.labels)), one.source) for one in sets)])
        return
    path = Path(label_set)
    if path.suffix.lower() == SUFFIX:
        raise InvalidQuery(f"{path}: a probe, which has no prompts to show; label and evaluate take it")
    opened = open_label_set(label_set)
    if as_yaml:
        text = path.read_text("utf-8-sig") if names_file(label_set) else shipped_text(label_set)
        print_lines([text.removesuffix("\n")])
    elif as_json:
        print_json([asdict(opened)])
    else:
        print_lines(map(printable, _lines(opened)))


def _summary(label_set: "LabelSet") -> dict[str, object]:
    return {
        "name": label_set.name,
        "mode": label_set.mode,
        "labels": [label.name for label in label_set.labels],
        "source": label_set.source,
    }


def _lines(label_set: "LabelSet") -> Iterator[str]:
    """Yield what a set says, for people."""
    yield f"{label_set.name}: {len(label_set.labels)} labels, {label_set.mode}"
    for name, text in (("source", label_set.source), ("notes", label_set.notes)):
        if text:
            yield f"{name}: {text}"
    for label in label_set.labels:
        yield ""
        yield label.name if label.threshold is None else f"{label.name}, from {label.threshold:g} on"
        present = "present" if label_set.mode == "findings" else "prompts"
        yield from (f"  {present}  {prompt}" for prompt in label.prompts)
        yield from (f"  absent   {prompt}" for prompt in label.absent)
