"""An explanation as people read it on a terminal: warnings first, then what is said, then its sources."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from types import MappingProxyType
from typing import Any

from medsiglip_search import terminal

WIDTH = 100
NOTICE = "Research software, not a medical device: no basis for a decision about a patient."


def explanation_lines(
    explanation: Mapping[str, Any], shown: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Yield an explanation, as JSON has it. shown: by subject, what was shown while it was made."""
    is_evidence = explanation["explainer"] == "evidence"
    if warnings := explanation["warnings"]:
        yield f"Warnings: {len(warnings)}"
        for warning in warnings:
            yield from _paragraph(f"{warning['subject']}: {warning['message']}", "! ")
        yield ""
    for picture in explanation["pictures"]:
        yield from _picture(picture, _is_shown(picture["description"], shown.get(picture["subject"])))
    texts = {"Summary": "summary", "Reports of the hits": "reports", "Draft of a report": "draft"}
    for title, text in texts.items():
        if explanation[text] and not _is_shown(explanation[text], shown.get(text)) and not is_evidence:
            yield title
            yield from _paragraph(explanation[text])
    yield "Evidence, without a language model"
    yield from _paragraph(explanation["evidence"])
    if explanation["findings"]:
        yield "Findings, and where they come from"
        rows = [("  " + one["finding"], _sources(one["sources"])) for one in explanation["findings"]]
        yield from terminal.aligned(rows)
    yield ""
    yield _origin(explanation)
    yield NOTICE


def _is_shown(text: str, shown: str | None) -> bool:
    return shown is not None and text.split() == shown.split()


def _picture(picture: Mapping[str, Any], is_shown: bool) -> Iterator[str]:
    told = ["" if is_shown else picture["description"], picture["matches"], picture["differs"]]
    if not any(told) and not is_shown:
        told = ["Not described."]
    image = "" if picture["image_id"] is None else f", image {picture['image_id']}"
    if any(told):
        yield f"{picture['subject'].capitalize()}{image}"
    for text in filter(None, told):
        yield from _paragraph(text)


def _paragraph(text: str, mark: str = "") -> Iterator[str]:
    for part in text.splitlines():
        yield from wrap(terminal.printable(part), WIDTH, initial_indent=f"  {mark}", subsequent_indent="  ")


def _sources(sources: list[str]) -> str:
    by_kind: dict[str, list[str]] = {}
    for source in sources:
        kind, _, subject = source.partition(": ")
        by_kind.setdefault(kind, []).append(subject)
    return "; ".join(f"{kind}: {', '.join(subjects)}" for kind, subjects in by_kind.items())


def _origin(explanation: Mapping[str, Any]) -> str:
    if not explanation["prompt_version"]:
        return (
            f"Explained by {explanation['explainer']}: records and the encoder's scores, no language model."
        )
    revision = explanation["revision"]
    revision = f" {revision[:12]}" if revision and "://" not in revision else ""
    return (
        f"Explained by {explanation['explainer']}{revision}, prompts {explanation['prompt_version']} "
        f"({explanation['prompt_digest'][:12]}), {explanation['tokens']} tokens, "
        f"{explanation['seconds']:.1f} s: {explanation['state']}."
    )
