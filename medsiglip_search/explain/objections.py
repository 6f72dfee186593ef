"""What a model said of the pictures of a result, held against the evidence."""

import re
from collections.abc import Iterator
from dataclasses import replace

from medsiglip_search.explain import Question
from medsiglip_search.explain.check import cautions_by_finding, is_evident, is_supported
from medsiglip_search.explain.claims import claims
from medsiglip_search.explain.claims.lexicon import Lexicon
from medsiglip_search.explain.comparing import disagreement, names
from medsiglip_search.explain.parsing import Description, Named
from medsiglip_search.explain.picture_evidence import Caution, FindingEvidence, PictureEvidence


def with_findings(said: Description, evidence: PictureEvidence) -> Description:
    """Return a description with the findings that its sentences name, where it came in another form."""
    if said.parsed or not said.text:
        return said
    named = [
        Named(claim.name, claim.side)
        for claim in claims(said.text, Lexicon(evidence.findings), evidence.subject)
        if claim.kind == "finding" and claim.polarity == "present"
    ]
    return replace(said, findings=tuple(dict.fromkeys(named)))


def of_description(said: Description, evidence: PictureEvidence) -> tuple[Caution, ...]:
    """Return what to distrust in a picture's description: its sentences, and what its JSON names besides."""
    of_text = cautions_by_finding(said.text, evidence)
    told = " ".join(f"There is {named}." for named in said.findings) if said.parsed else ""
    of_names = cautions_by_finding(told, evidence) if told else ()
    unsaid = {finding for finding, caution in of_names if caution.kind == "unsaid"}
    found = [
        caution for finding, caution in of_text if caution.kind != "unsaid" or not told or finding in unsaid
    ]
    known = {(caution.kind, finding) for finding, caution in of_text}
    found += [
        caution
        for finding, caution in of_names
        if caution.kind != "unsaid" and (caution.kind, finding) not in known
    ]
    if not said.parsed:
        message = "The answer did not come in the form asked for; it is kept as text."
        found.append(Caution("form", evidence.subject, message))
    return tuple(dict.fromkeys(found))


def of_opinions(subject: str, one: Description, other: Description) -> Iterator[Caution]:
    """Yield what is named in one of two descriptions of a picture only, or on another side."""
    first, second = names(one.findings), names(other.findings)
    for finding in disagreement(first, second):
        yield Caution("opinions", subject, f"Named only at first: {finding}.", finding)
    for finding in disagreement(second, first):
        message = f"Named only when asked in other words: {finding}."
        yield Caution("opinions", subject, message, finding)


def of_all_pictures(text: str, subject: str, question: Question) -> Iterator[Caution]:
    """Yield what is wrong in a text about all pictures, whichever of them each sentence is about.

    Wrong is what no picture bears out: beside the evidence that speaks most for each finding, and beside that
    which speaks least.
    """
    if not text or not question.cases:
        return
    if text.lstrip().startswith(("{", "[")):
        yield Caution("form", subject, "The answer did not come in the form asked for.")
    # To the checker a text about hits is one about other pictures.
    text = re.sub(r"\b(?:hits?|query)\b(?:\s+\d+\b)?", "picture", text, flags=re.IGNORECASE)
    most, least = _merged(question, is_most=True), _merged(question, is_most=False)
    beside_least = {(caution.kind, finding) for finding, caution in cautions_by_finding(text, least)}
    for finding, caution in cautions_by_finding(text, most):
        if caution.kind != "unsaid" and (caution.kind, finding) in beside_least:
            yield replace(caution, subject=subject)


def _merged(question: Question, is_most: bool) -> PictureEvidence:
    """Return the evidence that speaks most, or least, for each finding among the pictures."""
    every = [case.evidence for case in question.cases]
    found: list[FindingEvidence] = []
    for name in dict.fromkeys(each.finding for evidence in every for each in evidence.findings):
        known = [evidence.of(name) or FindingEvidence(name) for evidence in every]
        chosen = sorted(known, key=_speaks_for)[-1 if is_most else 0]
        found.append(replace(chosen, recorded_sides=frozenset().union(*(e.recorded_sides for e in known))))
    kinds, parts = ({getattr(each, name) for each in every} for name in ("modality", "body_part"))
    normal = [each.is_normal is False for each in every]
    is_abnormal = any(normal) if is_most else all(normal)
    return PictureEvidence(
        "result",
        kinds.pop() if len(kinds) == 1 else None,
        parts.pop() if len(parts) == 1 else None,
        tuple(found),
        False if is_abnormal else None,
    )


def _speaks_for(each: FindingEvidence) -> tuple[bool, bool, bool, float]:
    recorded_absent = each.recorded == "absent"
    return is_supported(each, "result"), is_evident(each), not recorded_absent, each.probability or 0.0
