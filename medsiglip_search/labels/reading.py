"""Label sets as YAML files: read, and checked with the line of each mistake. The only yaml import.

    name: chest                       # the file's stem by default
    mode: findings                    # each present or absent; or exclusive: one of them is true
    source: where the prompts come from
    notes: what a user should know
    templates: {absent: ["no {}"]}    # filled with each present prompt; of exclusive labels a list
    absent: [head CT]                 # for all labels, beside their own
    labels:
      pneumothorax:
        present: [pneumothorax, collapsed lung]
        absent: [lungs are fully expanded]
        threshold: 0.4

Exclusive labels are a mapping of names to prompts, or to `prompts` and `threshold`, or a list of names that
are their own only prompt.
"""

import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import yaml

from medsiglip_search.errors import InvalidLabelSet
from medsiglip_search.labels import Label, LabelSet, Mode

MAX_BYTES, MAX_NODES, MAX_NAME = 1 << 20, 100_000, 100
_KEYS = ("name", "mode", "source", "notes", "templates", "absent", "labels")
_OF_FINDING, _OF_OPTION = ("present", "absent", "threshold"), ("prompts", "threshold")
_TEXT, _NUMBERS = "tag:yaml.org,2002:str", ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")


def read_label_set(path: str | os.PathLike[str]) -> LabelSet:
    """Return the label set of a YAML file. Raises InvalidLabelSet, with the line."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidLabelSet(
                f"{path}: larger than {MAX_BYTES >> 20} MiB; a label set is a small text file"
            )
        text = path.read_text("utf-8-sig")
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise InvalidLabelSet(f"{path}: cannot be read: {why}; name a YAML file") from None
    except UnicodeDecodeError:
        raise InvalidLabelSet(f"{path}: not UTF-8 text; save it as UTF-8") from None
    return parse_label_set(text, str(path), path.stem)


def parse_label_set(text: str, place: str, name: str) -> LabelSet:
    """Return the label set that a YAML text describes.

    place: what errors call it. name: of the set, unless the text says another. Raises InvalidLabelSet.
    """
    return _Reader(place).label_set(_composed(text, place), name)


def _composed(text: str, place: str) -> yaml.Node | None:
    """Return the nodes of a YAML text, None if it has none. Raises InvalidLabelSet."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line, problem = error.problem_mark.line if error.problem_mark else 0, error.problem
    except yaml.reader.ReaderError as error:
        line, problem = text.count("\n", 0, error.position), error.reason
    except RecursionError:
        raise InvalidLabelSet(
            f"{place}: lists in lists are nested too deep; a label set has no more than three levels"
        ) from None
    # PyYAML lets through what Python says of "\UFFFFFFFF" and of a version of thousands of digits.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        line, problem = loader.line if loader else 0, " ".join(str(error).split())[:200]
    raise InvalidLabelSet(f"{place}, line {line + 1}: no YAML: {problem}; correct it")


class _Reader:
    """Takes the nodes of one file apart. place: of the file, for errors."""

    def __init__(self, place: str) -> None:
        self._place = place

    def label_set(self, root: yaml.Node | None, name: str) -> LabelSet:
        if root is None:
            raise InvalidLabelSet(f"{self._place}: empty; write mode and labels")
        self._require_small(root)
        fields = self._fields(root, _KEYS, "a label set")
        for key in ("mode", "labels"):
            if key not in fields:
                raise self._error(root, f"no {key}", f"add `{key}:`")
        mode = self._mode(fields["mode"])
        if "name" in fields:
            name = self._name(fields["name"])
        fill_present, fill_absent = self._templates(fields.get("templates"), mode)
        shared: tuple[str, ...] = ()
        if "absent" in fields:
            if mode == "exclusive":
                raise self._error(
                    fields["absent"], "absent is for findings, and the mode is exclusive", "leave it out"
                )
            shared = self._texts(fields["absent"], "absent")
        labels: list[Label] = []
        said: dict[str, str] = {}
        for written, node in self._labels(fields["labels"], mode):
            label = self._label(written, node, mode)
            labels.append(
                Label(
                    label.name,
                    fill_present(label.prompts),
                    _unique((*label.absent, *fill_absent(label.prompts), *shared)),
                    label.threshold,
                )
            )
            self._require_sense(written, labels[-1], mode)
            if mode == "exclusive":
                self._require_distinct(written, labels[-1], said)
        source, notes = (self._text(fields[key], key) if key in fields else "" for key in ("source", "notes"))
        return LabelSet(name, mode, tuple(labels), source, notes)

    def _label(self, key: yaml.Node, node: yaml.Node | None, mode: Mode) -> Label:
        """Return one label as it is written, templates not yet filled in."""
        name = self._name(key)
        if node is None:
            return Label(name, (name,))
        is_text = isinstance(node, yaml.SequenceNode) or node.tag == _TEXT
        if is_text and mode == "exclusive":
            return Label(name, self._texts(node, f"the prompts of {name!r}"))
        if not isinstance(node, yaml.MappingNode):
            below = "present and absent" if mode == "findings" else "them"
            raise self._error(node, f"{name!r} has no prompts", f"write {below} under it")
        own, other = (_OF_FINDING, "prompts") if mode == "findings" else (_OF_OPTION, "present")
        for written, _ in node.value:
            if written.value in (other, "absent") and written.value not in own:
                raise self._error(
                    written,
                    f"{written.value} belongs to a set of another mode, and the mode is {mode}",
                    f"write {' and '.join(own[:-1])}, or change the mode",
                )
        fields = self._fields(node, own, f"the label {name!r}")
        prompts = fields.get(own[0])
        if prompts is None:
            raise self._error(key, f"{name!r} has no prompts", f"add `{own[0]}:` and a list of texts")
        return Label(
            name,
            self._texts(prompts, f"{own[0]} of {name!r}"),
            self._texts(fields["absent"], f"absent of {name!r}") if "absent" in fields else (),
            self._threshold(fields["threshold"]) if "threshold" in fields else None,
        )

    def _labels(self, node: yaml.Node, mode: Mode) -> Iterator[tuple[yaml.Node, yaml.Node | None]]:
        """Yield each label's name and what is written under it, None in a list of plain names."""
        if isinstance(node, yaml.MappingNode):
            pairs = list(node.value)
        elif isinstance(node, yaml.SequenceNode) and mode == "exclusive":
            pairs = [(item, None) for item in node.value]
        else:
            how = (
                "a mapping of names to present and absent"
                if mode == "findings"
                else "names, or names to prompts"
            )
            raise self._error(node, "labels is of another kind", f"write {how}")
        if len(pairs) < (2 if mode == "exclusive" else 1):
            raise self._error(node, "too few labels", "write two or more" if pairs else "write some")
        lines: dict[str, int] = {}
        for key, value in pairs:
            plain = _plain(self._name(key))
            if plain in lines:
                raise self._error(
                    key,
                    f"the label {key.value!r} stands in line {lines[plain]} already",
                    "join or rename them",
                )
            lines[plain] = _line(key)
            yield key, value

    def _require_sense(self, key: yaml.Node, label: Label, mode: Mode) -> None:
        if mode == "findings" and not label.absent:
            raise self._error(
                key,
                f"{label.name!r} has no absent prompts",
                'add `absent:`, or a template for it: absent: ["no {}"]',
            )
        both = {_plain(p) for p in label.prompts} & {_plain(p) for p in label.absent}
        if both:
            raise self._error(
                key, f"{sorted(both)[0]!r} is present and absent of {label.name!r}", "leave one out"
            )

    def _require_distinct(self, written: yaml.Node, label: Label, said: dict[str, str]) -> None:
        """Raise unless a label differs from those before it; said: whose prompt each is."""
        if _plain(label.name) == "abstain":
            raise self._error(written, "abstain is the word for images left undecided", "rename the label")
        for prompt in map(_plain, label.prompts):
            if said.setdefault(prompt, label.name) != label.name:
                raise self._error(
                    written,
                    f"{prompt!r} stands for {said[prompt]!r} and {label.name!r}, and one alone is true",
                    "leave one out",
                )

    def _templates(
        self, node: yaml.Node | None, mode: Mode
    ) -> tuple[Callable[[Sequence[str]], tuple[str, ...]], Callable[[Sequence[str]], tuple[str, ...]]]:
        """Return what makes prompts of those written, and absent ones of the present ones."""
        present: tuple[str, ...] = ("{}",)
        absent: tuple[str, ...] = ()
        if node is not None and mode == "exclusive":
            present = self._template_list(node)
        elif node is not None:
            fields = self._fields(node, ("present", "absent"), "templates")
            present = self._template_list(fields["present"]) if "present" in fields else present
            absent = self._template_list(fields["absent"]) if "absent" in fields else absent

        def filling(templates: Sequence[str]) -> Callable[[Sequence[str]], tuple[str, ...]]:
            return lambda texts: _unique([form.replace("{}", text) for text in texts for form in templates])

        return filling(present), filling(absent)

    def _template_list(self, node: yaml.Node) -> tuple[str, ...]:
        templates = self._texts(node, "templates")
        for template, item in zip(templates, _items(node), strict=True):
            if template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
                raise self._error(
                    item, f"the template {template!r} has not just one {{}}", "write {} for the prompt"
                )
        return templates

    def _mode(self, node: yaml.Node) -> Mode:
        for mode in get_args(Mode):
            if node.value == mode:
                return mode
        raise self._error(
            node,
            f"no mode {node.value!r}" if isinstance(node.value, str) else "no mode",
            "write findings or exclusive",
        )

    def _name(self, node: yaml.Node) -> str:
        name = self._text(node, "a name")
        if len(name) > MAX_NAME:
            raise self._error(node, f"a name of more than {MAX_NAME} characters", "shorten it")
        if not name.isprintable():
            raise self._error(node, "a name with characters that cannot be printed", "take them out")
        return name

    def _threshold(self, node: yaml.Node) -> float:
        try:
            if node.tag not in _NUMBERS:
                raise ValueError
            threshold = float(node.value)
            if not 0 <= threshold <= 1:
                raise ValueError
        except (TypeError, ValueError):
            raise self._error(node, "a threshold is a probability", "write a number from 0 to 1") from None
        return threshold

    def _texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        """Return a list of texts, or a single one."""
        items = _items(node)
        if not items:
            raise self._error(node, f"{what}: no text", "write at least one")
        texts = tuple(self._text(item, what) for item in items)
        for place, (text, item) in enumerate(zip(texts, items, strict=True)):
            if _plain(text) in map(_plain, texts[:place]):
                raise self._error(item, f"{what}: {text!r} stands there twice", "leave one out")
        return texts

    def _text(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, f"{what}: text is missing", "write text there")
        if node.tag != _TEXT:
            if node.tag == "tag:yaml.org,2002:null":
                raise self._error(node, f"{what}: nothing is written", "write text, or leave the entry out")
            raise self._error(
                node,
                f"{what}: YAML takes {node.value} for another thing than text",
                f'quote it: "{node.value}"',
            )
        text = " ".join(node.value.split())
        if not text:
            raise self._error(node, f"{what}: an empty text", "write some, or leave it out")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error(node, f"{what}: half a character", "write the character itself")
        return text

    def _fields(self, node: yaml.Node, known: Sequence[str], what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what} is a mapping", f"write `key: value` lines: {', '.join(known)}")
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key.value, str) or key.value not in known:
                near = difflib.get_close_matches(str(key.value), known, 1)
                told = key.value if isinstance(key.value, str) else "that"
                advice = f"write {near[0]}" if near else f"known are {', '.join(known)}"
                raise self._error(key, f"{what} has no {told}", advice)
            if key.value in fields:
                raise self._error(key, f"{key.value} stands there twice", "join the two")
            fields[key.value] = value
        return fields

    def _require_small(self, root: yaml.Node) -> None:
        """Refuse what aliases of aliases would grow to: each is looked at as often as it is named."""
        waiting, met = [root], 0
        while waiting:
            node = waiting.pop()
            met += 1
            if met > MAX_NODES:
                raise InvalidLabelSet(f"{self._place}: more than {MAX_NODES} entries; split the set")
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                waiting += [part for pair in node.value for part in pair]

    def _error(self, node: yaml.Node, problem: str, advice: str) -> InvalidLabelSet:
        return InvalidLabelSet(f"{self._place}, line {_line(node)}: {problem}; {advice}")


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _items(node: yaml.Node) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _plain(text: str) -> str:
    """Return a text as names and prompts are compared."""
    return " ".join(text.replace("_", " ").replace("-", " ").split()).casefold()


def _unique(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
