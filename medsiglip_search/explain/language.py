"""The explainer that asks a language model: each picture alone, then all together, then checked."""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from medsiglip_search.errors import ExplainerFailed, Unreadable
from medsiglip_search.explain import (
    Case,
    CaseExplanation,
    Explanation,
    Question,
    State,
    Stated,
    TellPiece,
    prompts,
    untold,
)
from medsiglip_search.explain.chat import Answer, ChatModel, Prompt
from medsiglip_search.explain.check import check, is_supported
from medsiglip_search.explain.comparing import differs, joined, matches, names
from medsiglip_search.explain.evidence import asked_findings, evidence_statement, result_cautions, stated
from medsiglip_search.explain.parsing import Description, Sentences, parse_description
from medsiglip_search.explain.picture_evidence import Caution, FindingEvidence, PictureEvidence
from medsiglip_search.explain.plain_text import plain
from medsiglip_search.explain.prompts import Described

DEMO = "demo"
_OF_DEMO = Caution("demo", "result", "The demo explainer knows synthetic pictures only.")

MOST_SLICES = 16
"""Of one volume in a prompt."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a language model is asked beside describing each picture.

    joint: to compare the query and the hits in one prompt, where it is made for several pictures.
    second_opinion: to describe each picture again, asked in other words.
    report: to summarise the hits' reports and draft one of the query's picture, or of the best hit.
    """

    joint: bool = False
    second_opinion: bool = False
    report: bool = False


class LanguageExplainer:
    """Lets a model describe and compare, and checks what it says against the evidence.

    The evidence itself is always part of the explanation, and all there is when the model breaks down.
    """

    def __init__(
        self, model: ChatModel, options: Options = Options(), reader: ChatModel | None = None
    ) -> None:
        """Take the model. reader: writes the summary of reports and the draft instead of it."""
        self.name = model.name
        self._model = model
        self._options = options
        self._reader = reader or model

    def explain(
        self, question: Question, tell: TellPiece = untold, stop: threading.Event | None = None
    ) -> Explanation:
        """Describe each picture, compare them, check it all; see `Explainer`."""
        talk = _Talk(tell, stop or threading.Event())
        described: dict[str, Description] = {}
        opinions: dict[str, Description] = {}
        cautions = [_OF_DEMO] if self.name == DEMO else []
        summary = reports = draft = ""
        with talk.ended_by_failure():
            for case in question.cases:
                if (
                    self._model.abilities.pictures
                    and (text := self._describe(talk, case, cautions)) is not None
                ):
                    described[case.subject] = text
                    if self._options.second_opinion:
                        opinions[case.subject] = self._describe(talk, case, cautions, again=True) or text
            summary = self._summary(talk, question, described, cautions)
            if self._options.report:
                reports = self._reports(talk, question)
                draft = self._draft(talk, question, described)
        cases = tuple(_explained(question, case, described, opinions) for case in question.cases)
        return Explanation(
            explainer=self.name,
            revision=self._model.revision,
            state=talk.state(len(described), bool(summary)),
            evidence=evidence_statement(question),
            summary=summary or _summarised(cases),
            cases=cases,
            findings=_findings(question, described),
            cautions=(
                *(caution for case in cases for caution in case.cautions),
                *_of_texts(question, summary, draft),
                *cautions,
                *talk.cautions,
                *result_cautions(question),
            ),
            reports=reports,
            draft=draft,
            problem=talk.problem,
            prompt_version=prompts.VERSION,
            prompt_digest=talk.digest(),
            seconds=talk.seconds(),
            tokens=talk.tokens,
        )

    def _describe(
        self, talk: "_Talk", case: Case, cautions: list[Caution], again: bool = False
    ) -> Description | None:
        """Return what the model says of a picture, None where it cannot be shown to it."""
        try:
            slices = min(self._model.abilities.pictures, MOST_SLICES)
            pictures = case.pictures(self._model.rendering, slices)
        except Unreadable as error:
            if not again:
                cautions.append(Caution("unread", case.subject, f"Its picture cannot be shown: {error}"))
            return None
        known = prompts.known_of(case.evidence.modality, case.evidence.body_part)
        subject = f"{case.subject}, asked again" if again else case.subject
        prompt = prompts.describe(pictures, known, again)
        answer = talk.ask(self._model, prompt, subject, sentences=True)
        return parse_description(answer.text)

    def _summary(
        self,
        talk: "_Talk",
        question: Question,
        described: dict[str, Description],
        cautions: list[Caution],
    ) -> str:
        """Return what the model says of all pictures together."""
        if not question.hits or not self._model.abilities.writes:
            return ""
        if self._options.joint and question.query is not None:
            if self._model.abilities.pictures > len(question.hits):
                shown = [self._one_picture(case) for case in question.cases]
                return plain(talk.ask(self._model, prompts.joint(shown[0], shown[1:]), "summary").text)
            cautions.append(
                Caution(
                    "joint",
                    "result",
                    f"{self.name} is not made for {len(question.cases)} pictures in one prompt; each was "
                    "described alone.",
                )
            )
        said = [
            Described(case.subject, described[case.subject].text, case.record)
            if case.subject in described
            else Described(case.subject, "No description.", case.record)
            for case in question.cases
        ]
        return plain(talk.ask(self._model, prompts.compare(question.asked, said), "summary").text)

    def _one_picture(self, case: Case) -> np.ndarray:
        return case.pictures(self._model.rendering, 1)[0]

    def _reports(self, talk: "_Talk", question: Question) -> str:
        told = [(case.subject, case.report) for case in question.hits if case.report]
        if not told or not self._reader.abilities.writes:
            return ""
        return plain(talk.ask(self._reader, prompts.summarise_reports(told), "reports").text)

    def _draft(self, talk: "_Talk", question: Question, described: dict[str, Description]) -> str:
        """Return the draft of a report on the query's picture, or of the best hit of a text."""
        subject = _drafted(question)
        if subject not in described or not self._reader.abilities.writes:
            return ""
        told = described[subject]
        findings = [f"{named} ({named.place})" if named.place else str(named) for named in told.findings]
        prompt = prompts.draft_report(told.modality, findings or [told.text], told.normal)
        return plain(talk.ask(self._reader, prompt, "draft").text)


class _Talk:
    """What was asked and answered so far in one explanation."""

    def __init__(self, tell: TellPiece, stop: threading.Event) -> None:
        self.tokens = 0
        self.problem = ""
        self.cautions: list[Caution] = []
        self._tell = tell
        self._stop = stop
        self._started = time.monotonic()
        self._digest = hashlib.sha256(prompts.templates_digest().encode())

    def ask(self, model: ChatModel, prompt: Prompt, subject: str, *, sentences: bool = False) -> Answer:
        """Return an answer. Raises ExplainerFailed, and _Cancelled once nobody wants it any more.

        sentences: tell only these while it is made, and not the JSON that comes after.
        """
        if self._stop.is_set():
            raise _Cancelled
        for part in prompt.parts:
            self._digest.update(part.encode() if isinstance(part, str) else part.tobytes())
        tell = partial(self._tell, subject)
        answer = model.generate(prompt, Sentences(tell) if sentences else tell, self._stop)
        self.tokens += answer.tokens
        if answer.ended == "cancelled":
            raise _Cancelled
        if answer.ended == "loop":
            self.cautions.append(
                Caution("loop", subject, "The model began to repeat itself and was cut off.")
            )
        elif answer.ended == "length":
            self.cautions.append(Caution("length", subject, "The answer was cut off at its longest."))
        return answer

    @contextmanager
    def ended_by_failure(self) -> Iterator[None]:
        """Keep what was said until the model broke down or was stopped."""
        try:
            yield
        except ExplainerFailed as error:
            self.problem = str(error)
        except _Cancelled:
            self.problem = "cancelled"

    def state(self, described: int, summarised: bool) -> State:
        if self.problem == "cancelled":
            return "cancelled"
        if not self.problem:
            return "done"
        return "partial" if described or summarised else "failed"

    def digest(self) -> str:
        return self._digest.hexdigest()

    def seconds(self) -> float:
        return time.monotonic() - self._started


class _Cancelled(Exception):
    """Nobody wants the explanation any more."""


def _explained(
    question: Question, case: Case, described: dict[str, Description], opinions: dict[str, Description]
) -> CaseExplanation:
    image_id = case.hit.instance.image_id if case.hit is not None else None
    if case.subject not in described:
        return CaseExplanation(case.subject, image_id, "", (), parsed=False)
    said = described[case.subject]
    shown = names(said.findings)
    asked = asked_findings(question)
    if question.query is not None and "query" in described:
        asked = names(described["query"].findings)
    cautions = list(check(said.text, case.evidence))
    cautions += _of_findings(said, case)
    if case.subject in opinions:
        cautions += _disagreement(case.subject, said, opinions[case.subject])
    if not said.parsed:
        cautions.append(
            Caution(
                "form", case.subject, "The answer did not come in the form asked for; it is kept as text."
            )
        )
    return CaseExplanation(
        case.subject,
        image_id,
        said.text,
        shown,
        said.normal,
        matches(asked, shown) if case.hit is not None else "",
        differs(asked, shown) if case.hit is not None else "",
        said.parsed,
        tuple(dict.fromkeys(cautions)),
    )


def _of_findings(said: Description, case: Case) -> Iterator[Caution]:
    """Check what the JSON names and the sentences do not."""
    if not said.findings:
        return
    text = " ".join(f"There is {named}." for named in said.findings)
    told = {(caution.kind, caution.message) for caution in check(said.text, case.evidence)}
    for caution in check(text, case.evidence):
        if caution.kind != "unsaid" and (caution.kind, caution.message) not in told:
            yield caution


def _disagreement(subject: str, one: Description, other: Description) -> Iterator[Caution]:
    first, second = set(names(one.findings)), set(names(other.findings))
    for finding in sorted(first ^ second):
        when = "only at first" if finding in first else "only when asked in other words"
        yield Caution("opinions", subject, f"Named {when}: {finding}.", finding)


def _of_texts(question: Question, summary: str, draft: str) -> Iterator[Caution]:
    """Check what is said of all hits, and the draft of a report."""
    subject = _drafted(question)
    for case in question.cases:
        if draft and case.subject == subject:
            yield from (replace(each, subject="draft") for each in check(draft, case.evidence))
    for caution in check(summary, _of_all(question)) if summary else ():
        if caution.kind in ("unsupported", "modality", "organ"):
            yield replace(caution, subject="summary")


def _of_all(question: Question) -> PictureEvidence:
    """Return what is known of any of the pictures: a text about all of them may tell what one alone shows."""
    best: dict[str, FindingEvidence] = {}
    for case in question.cases:
        for each in case.evidence.findings:
            so_far = best.get(each.finding)
            if so_far is None or (is_supported(each, case.subject), each.probability or 0) > (
                is_supported(so_far, case.subject),
                so_far.probability or 0,
            ):
                best[each.finding] = each
    kinds = {case.evidence.modality for case in question.cases}
    parts = {case.evidence.body_part for case in question.cases}
    return PictureEvidence(
        "result",
        kinds.pop() if len(kinds) == 1 else None,
        parts.pop() if len(parts) == 1 else None,
        tuple(best.values()),
    )


def _drafted(question: Question) -> str:
    """Return the picture that a report is drafted of."""
    if question.query is not None:
        return question.query.subject
    return question.hits[0].subject if question.hits else ""


def _summarised(cases: Sequence[CaseExplanation]) -> str:
    """Return what the descriptions have in common, where the model itself was not asked or did not say it."""
    told = [case for case in cases if case.parsed]
    if not told:
        return ""
    common = [finding for finding in told[0].findings if all(finding in case.findings for case in told)]
    subjects = joined(case.subject for case in told)
    if common:
        return f"Described in all of {subjects}: {joined(common)}."
    return f"No finding is described in all of {subjects}."


def _findings(question: Question, described: dict[str, Description]) -> tuple[Stated, ...]:
    """Return the findings, with what each comes from: records, the encoder, the model."""
    sources = {each.finding: list(each.sources) for each in stated(question)}
    for subject, said in described.items():
        for finding in names(said.findings):
            sources.setdefault(finding, []).append(f"model: {subject}")
    ranked = sorted(sources.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Stated(finding, tuple(where)) for finding, where in ranked)
