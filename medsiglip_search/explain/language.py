"""The explainer that asks a language model: each picture alone, then all together, then checked."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from medsiglip_search.errors import Unreadable
from medsiglip_search.explain import (
    Case,
    CaseExplanation,
    Explanation,
    Question,
    Stated,
    TellPiece,
    prompts,
    untold,
)
from medsiglip_search.explain.chat import ChatModel
from medsiglip_search.explain.check import check
from medsiglip_search.explain.comparing import joined, names
from medsiglip_search.explain.evidence import (
    asked_findings,
    compared,
    evidence_statement,
    result_cautions,
    scores_of,
    stated,
)
from medsiglip_search.explain.kinds import DEMO_EXPLAINER
from medsiglip_search.explain.objections import of_all_pictures, of_description, of_opinions, with_findings
from medsiglip_search.explain.parsing import Description, parse_description
from medsiglip_search.explain.picture_evidence import Caution, PictureEvidence
from medsiglip_search.explain.plain_text import plain
from medsiglip_search.explain.prompts import Described
from medsiglip_search.explain.talk import Ended, Talk

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


@dataclass(slots=True)
class _Said:
    """What was said so far, by subject. evidence: what each description is checked against."""

    described: dict[str, Description] = field(default_factory=dict)
    opinions: dict[str, Description] = field(default_factory=dict)
    evidence: dict[str, PictureEvidence] = field(default_factory=dict)
    pictures: dict[str, list[np.ndarray]] = field(default_factory=dict)
    summary: str = ""
    reports: str = ""
    draft: str = ""
    cautions: list[Caution] = field(default_factory=list)


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
        talk, said = Talk(tell, stop or threading.Event()), _Said()
        if self.name == DEMO_EXPLAINER:
            said.cautions.append(_OF_DEMO)
        with talk.until_it_ends():
            if self._model.abilities.pictures:
                for case in question.cases:
                    self._look(talk, case, said)
            self._summarise(talk, question, said)
            if self._options.report:
                self._report(talk, question, said)
        cases = tuple(self._explained(question, case, said) for case in question.cases)
        wanted = len(question.cases) if self._model.abilities.pictures else 0
        state = talk.state(len(said.described), wanted, bool(said.summary))
        return Explanation(
            explainer=self.name,
            revision=self._model.revision,
            state=state,
            evidence=evidence_statement(question),
            summary=said.summary or _summarised(cases),
            cases=cases,
            findings=_findings(question, said),
            cautions=(
                *(caution for case in cases for caution in case.cautions),
                *of_all_pictures(said.summary, "summary", question),
                *of_all_pictures(said.reports, "reports", question),
                *_of_draft(question, said),
                *said.cautions,
                *talk.cautions,
                *result_cautions(question),
            ),
            reports=said.reports,
            draft=said.draft,
            problem=talk.problem,
            prompt_version=prompts.VERSION,
            prompt_digest=talk.digest(),
            seconds=talk.seconds(),
            tokens=talk.tokens,
        )

    def _look(self, talk: Talk, case: Case, said: _Said) -> None:
        """Let the model describe a picture, once or twice."""
        try:
            pictures = case.pictures(self._model.rendering, min(self._model.abilities.pictures, MOST_SLICES))
        except Unreadable as error:
            said.cautions.append(Caution("unread", case.subject, f"Its picture cannot be shown: {error}"))
            return
        said.pictures[case.subject] = pictures
        said.evidence[case.subject] = case.whole() if len(pictures) > 1 else case.evidence
        self._describe(talk, case, said, said.described, again=False)
        if self._options.second_opinion and case.subject in said.described:
            self._describe(talk, case, said, said.opinions, again=True)

    def _describe(
        self, talk: Talk, case: Case, said: _Said, kept: dict[str, Description], *, again: bool
    ) -> None:
        """Keep what the model says of a picture, also what it said until it ended."""
        prompt = prompts.describe(said.pictures[case.subject], case.known, again)
        subject = f"{case.subject}, asked again" if again else case.subject
        try:
            answer = talk.ask(self._model, prompt, subject, sentences=True)
        except Ended as end:
            if end.said and not again:
                kept[case.subject] = self._parsed(end.said, said.evidence[case.subject])
            raise
        if answer is not None:
            kept[case.subject] = self._parsed(answer, said.evidence[case.subject])

    def _parsed(self, answer: str, evidence: PictureEvidence) -> Description:
        return with_findings(parse_description(answer), evidence)

    def _summarise(self, talk: Talk, question: Question, said: _Said) -> None:
        """Let the model say what it makes of all pictures together."""
        if not question.hits or not self._model.abilities.writes:
            return
        prompt = self._joint(question, said) if self._options.joint else None
        if prompt is None:
            none = Description("No description.")
            told = [
                Described(case.subject, said.described.get(case.subject, none).text, case.record)
                for case in question.cases
            ]
            prompt = prompts.compare(question.asked, told)
        try:
            said.summary = plain(talk.ask(self._model, prompt, "summary") or "")
        except Ended as end:
            said.summary = plain(end.said)
            raise

    def _joint(self, question: Question, said: _Said) -> prompts.Prompt | None:
        """Return the question about all pictures at once; None, and a caution, where it cannot be asked."""
        seen = [said.pictures[case.subject] for case in question.cases if case.subject in said.pictures]
        shown = [slices[len(slices) // 2] for slices in seen]
        if question.query is None:
            why = "There is no picture of the query to compare with"
        elif self._model.abilities.pictures < len(question.cases):
            why = f"{self.name} is not made for {len(question.cases)} pictures in one prompt"
        elif len(shown) < len(question.cases):
            why = "Not all pictures can be shown"
        else:
            return prompts.joint(shown[0], shown[1:])
        said.cautions.append(Caution("joint", "result", f"{why}; each was described alone."))
        return None

    def _report(self, talk: Talk, question: Question, said: _Said) -> None:
        """Let the reader summarise reports, and draft one of the query's picture or the best hit."""
        if not self._reader.abilities.writes:
            said.cautions.append(Caution("report", "result", f"{self._reader.name} writes no reports."))
            return
        told = [(case.subject, case.report) for case in question.hits if case.report]
        if told:
            said.reports = plain(talk.ask(self._reader, prompts.summarise_reports(told), "reports") or "")
        subject = _drafted(question)
        if subject not in said.described:
            return
        seen = said.described[subject]
        findings = [f"{named} ({named.place})" if named.place else str(named) for named in seen.findings]
        slices = said.pictures[subject]
        pictures = [slices[len(slices) // 2]] if self._reader.abilities.pictures else []
        prompt = prompts.draft_report(seen.modality, findings or [seen.text], seen.normal, pictures)
        said.draft = plain(talk.ask(self._reader, prompt, "draft") or "")

    def _explained(self, question: Question, case: Case, said: _Said) -> CaseExplanation:
        image_id = case.hit.instance.image_id if case.hit is not None else None
        if case.subject not in said.described:
            return CaseExplanation(case.subject, image_id, "", (), parsed=False, scores=scores_of(case))
        seen = said.described[case.subject]
        shown = names(seen.findings)
        asked = asked_findings(question)
        if "query" in said.described:
            own = said.described["query"]
            asked = names(own.findings) if own.parsed or own.findings else None
        cautions = of_description(seen, said.evidence[case.subject])
        if case.subject in said.opinions:
            cautions += tuple(of_opinions(case.subject, seen, said.opinions[case.subject]))
        return CaseExplanation(
            case.subject,
            image_id,
            seen.text,
            shown,
            seen.normal,
            *compared(question, case, asked, shown),
            seen.parsed,
            scores_of(case),
            cautions,
        )


def _of_draft(question: Question, said: _Said) -> tuple[Caution, ...]:
    """Return what to distrust in the draft of a report."""
    evidence = said.evidence.get(_drafted(question))
    if not said.draft or evidence is None:
        return ()
    return tuple(replace(each, subject="draft") for each in check(said.draft, evidence))


def _drafted(question: Question) -> str:
    """Return the picture that a report is drafted of."""
    if question.query is not None:
        return question.query.subject
    return question.hits[0].subject if question.hits else ""


def _summarised(cases: Sequence[CaseExplanation]) -> str:
    """Return what the descriptions have in common, where the model itself was not asked or did not say it."""
    told = [case for case in cases if case.description]
    if not told:
        return ""
    if len(told) == 1:
        shown = joined(told[0].findings) if told[0].findings else "no finding"
        return f"Described in {told[0].subject}: {shown}."
    common = [finding for finding in told[0].findings if all(finding in case.findings for case in told)]
    subjects = joined(case.subject for case in told)
    if common:
        return f"Described in all of {subjects}: {joined(common)}."
    return f"No finding is described in all of {subjects}."


def _findings(question: Question, said: _Said) -> tuple[Stated, ...]:
    """Return the findings, with what each comes from: records, the encoder, the model."""
    sources = {each.finding: list(each.sources) for each in stated(question)}
    for subject, seen in said.described.items():
        for finding in names(seen.findings):
            sources.setdefault(finding, []).append(f"model: {subject}")
    ranked = sorted(sources.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Stated(finding, tuple(where)) for finding, where in ranked)
