"""The explainer without a language model: what is recorded, what the encoder scores, how far they agree."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from medsiglip_search.explain import (
    Case,
    CaseExplanation,
    Explanation,
    Question,
    Stated,
    TellPiece,
    untold,
)
from medsiglip_search.explain.check import is_evident
from medsiglip_search.explain.claims import claims
from medsiglip_search.explain.claims.lexicon import Lexicon
from medsiglip_search.explain.comparing import differs, joined, matches
from medsiglip_search.explain.picture_evidence import Caution, FindingEvidence

AGREEMENT = 0.6
"""The share of hits from which on they are said to agree."""


class EvidenceExplainer:
    """States what speaks for a result, in plain sentences; it looks at no pixels and invents nothing."""

    name = "evidence"

    def explain(
        self, question: Question, tell: TellPiece = untold, stop: threading.Event | None = None
    ) -> Explanation:
        """Return the evidence in words. No hit is an explanation too: nothing was found."""
        started = time.monotonic()
        statement = evidence_statement(question)
        tell("summary", statement)
        return Explanation(
            self.name,
            revision="",
            state="done",
            evidence=statement,
            summary=statement,
            cases=tuple(_explained(question, case) for case in question.cases),
            findings=stated(question),
            cautions=result_cautions(question),
            seconds=time.monotonic() - started,
        )


def evidence_statement(question: Question) -> str:
    """Return what speaks for a result, as sentences."""
    if not question.hits:
        return f"Nothing in the gallery answers {question.asked}."
    return " ".join(_sentences(question))


def asked_findings(question: Question) -> tuple[str, ...] | None:
    """Return what is looked for: the findings of the query's picture, else those that its words name.

    None where nothing is known of it.
    """
    if question.query is not None:
        return evident_findings(question.query) if _is_known(question.query) else None
    lexicon = Lexicon([each for case in question.hits for each in case.evidence.findings])
    named = [
        _with_side(claim.name, claim.side)
        for claim in claims(question.asked, lexicon)
        if claim.kind == "finding" and claim.polarity == "present"
    ]
    return tuple(dict.fromkeys(named)) or None


def evident_findings(case: Case) -> tuple[str, ...]:
    """Return what a picture surely shows, with sides: what is recorded, or else what is scored."""
    return tuple(name for name, _ in _named(_evident(case)))


def _named(findings: Sequence[FindingEvidence]) -> list[tuple[str, FindingEvidence]]:
    """Return findings by their name with each side, beside what is known of them."""
    named: list[tuple[str, FindingEvidence]] = []
    for each in findings:
        sides: list[str] = sorted(each.recorded_sides)
        if not sides and each.recorded is None and each.left is not None:
            sides = ["left" if each.left >= 0.5 else "right"]
        named += [(f"{side} {each.finding}", each) for side in sides] or [(each.finding, each)]
    return named


def stated(question: Question) -> tuple[Stated, ...]:
    """Return the findings of all pictures, and where each comes from, most supported first."""
    sources: dict[str, list[str]] = defaultdict(list)
    for case in question.cases:
        for finding, each in _named(_evident(case)):
            how = "record" if each.recorded == "present" else "encoder"
            sources[finding].append(f"{how}: {case.subject}")
    ranked = sorted(sources.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Stated(finding, tuple(where)) for finding, where in ranked)


def result_cautions(question: Question) -> tuple[Caution, ...]:
    """Return what is to be said against a result as a whole."""
    return (*question.cautions, *_cautions(question)) if question.hits else question.cautions


def _cautions(question: Question) -> Iterator[Caution]:
    if not question.matches:
        yield Caution(
            "match",
            "result",
            "The best hit does not stand out from the gallery: perhaps nothing here matches.",
        )
    bare = sum(not _is_recorded(case) for case in question.hits)
    if bare:
        yield Caution("record", "result", f"{bare} of {len(question.hits)} hits have no recorded findings.")
    recorded = [case for case in question.hits if _is_recorded(case)]
    counts = _counts(recorded)
    if counts and max(counts.values()) < AGREEMENT * len(recorded):
        yield Caution("agreement", "result", "The hits do not agree on a finding.")


def _sentences(question: Question) -> Iterator[str]:
    best = question.hits[0].hit
    number = len(question.hits)
    if best is not None:
        yield (
            f"The best of {_counted(number, 'hit')} for {question.asked} scores {best.score:.2f}, with a "
            f"relevance of {best.relevance:.1f}."
        )
    recorded = [case for case in question.hits if _is_recorded(case)]
    if counts := _counts(recorded):
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{finding} ({count} of {len(recorded)})" for finding, count in ranked[:3])
        yield f"Recorded findings: {named}."
    if normal := sum(case.evidence.is_normal is True for case in question.hits):
        yield f"Recorded as normal: {normal} of {number}."
    yield from _seen(question)
    yield from _shared(question)


def _seen(question: Question) -> Iterator[str]:
    """Tell what the encoder sees where nothing is recorded, and where it agrees with the records or not."""
    agreeing: list[str] = []
    for case in question.cases:
        subject = _spoken(case)
        scored = [each for each in case.evidence.findings if each.probability is not None]
        seen = [each for each in scored if each.recorded is None and is_evident(each)]
        if seen:
            told = joined(f"{name} ({each.probability:.2f})" for name, each in _named(seen))
            also = "also " if _is_recorded(case) else ""
            yield f"The encoder {also}sees in {subject}: {told}."
        both = [each for each in scored if each.recorded == "present"]
        if both and all((each.probability or 0) >= each.threshold for each in both):
            agreeing.append(case.subject)
        doubted = [
            each.finding
            for each in scored
            if each.recorded == "present" and (each.probability or 0) < each.threshold
        ]
        if doubted:
            yield f"Recorded for {subject}, but hardly seen by the encoder: {joined(doubted)}."
    if agreeing:
        yield f"The encoder sees what is recorded in {joined(agreeing)}."


def _spoken(case: Case) -> str:
    return f"the {case.subject}" if case.subject == "query" else case.subject


def _shared(question: Question) -> Iterator[str]:
    kinds: dict[str, int] = defaultdict(int)
    patients = set()
    for case in question.hits:
        kinds[case.evidence.modality or "unknown"] += 1
        if case.hit is not None:
            patients.add(case.hit.instance.attributes.patient)
    ranked = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    yield f"Modality: {', '.join(f'{name} ({count})' for name, count in ranked)}."
    if patients := patients - {None}:
        yield f"The hits come from {_counted(len(patients), 'patient')}."


def compared(
    question: Question, case: Case, asked: Sequence[str] | None, shown: Sequence[str]
) -> tuple[str, str]:
    """Return why a hit matches what was asked for, and how it differs; empty for the query's own picture."""
    if case.hit is None:
        return "", ""
    of_pictures = question.query is not None
    return matches(asked, shown, of_pictures), differs(asked, shown, of_pictures)


def scores_of(case: Case) -> dict[str, float]:
    """Return the zero-shot probabilities of the findings that are recorded, or count as present."""
    return {
        each.finding: round(each.probability, 4)
        for each in case.evidence.findings
        if each.probability is not None and (each.recorded is not None or each.probability >= each.threshold)
    }


def _explained(question: Question, case: Case) -> CaseExplanation:
    shown = evident_findings(case)
    why, how = compared(question, case, asked_findings(question), shown)
    return CaseExplanation(
        case.subject,
        case.hit.instance.image_id if case.hit is not None else None,
        description=_said_of(case, shown),
        findings=shown,
        matches=why,
        differs=how,
        scores=scores_of(case),
    )


def _said_of(case: Case, shown: Sequence[str]) -> str:
    how = "Recorded" if _is_recorded(case) else "Seen by the encoder"
    if shown:
        return f"{how}: {joined(shown)}."
    if case.evidence.is_normal:
        return "Recorded as normal."
    return "Recorded without a finding." if _is_recorded(case) else ""


def _evident(case: Case) -> list[FindingEvidence]:
    """Return the findings that a picture surely has; scores count where nothing is recorded at all."""
    recorded = [each for each in case.evidence.findings if each.recorded == "present"]
    if recorded or _is_recorded(case):
        return recorded
    return [each for each in case.evidence.findings if is_evident(each)]


def _is_known(case: Case) -> bool:
    scored = any(each.probability is not None for each in case.evidence.findings)
    return scored or _is_recorded(case)


def _is_recorded(case: Case) -> bool:
    said = any(each.recorded is not None for each in case.evidence.findings)
    return said or case.evidence.is_normal is not None


def _counts(cases: Sequence[Case]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for case in cases:
        for finding in evident_findings(case):
            counts[finding] += 1
    return counts


def _with_side(finding: str, side: str | None) -> str:
    if side is None:
        return finding
    return f"{'bilateral' if side == 'both' else side} {finding}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
