"""Text inside reports and files is data: nothing in it is followed, shown as a link, or taken as evidence."""

import json
from dataclasses import replace

import pytest
from explaining import Scripted, case, hit, question, text_of
from injections import INJECTIONS, OTHERS, REPORTS

from medsiglip_search import wire
from medsiglip_search.explain import Case
from medsiglip_search.explain.addressed import speaks_to_a_program
from medsiglip_search.explain.evidence import EvidenceExplainer
from medsiglip_search.explain.gathering import findings_of
from medsiglip_search.explain.language import LanguageExplainer, Options
from medsiglip_search.explain.picture_evidence import PictureEvidence
from medsiglip_search.explain.plain_text import plain
from medsiglip_search.explain.prompts import known_of
from medsiglip_search.explain.recording import record_of
from medsiglip_search.explanation_text import explanation_lines
from medsiglip_search.records import Attributes, Instance

HONEST = "Left pleural effusion. No pneumothorax."
ACTED_UPON = ("<", ">", "://", "javascript:", "](", "www.", "\x1b", "\u202e", "\x07", "data:text")


def instance(**columns: str) -> Instance:
    attributes = Attributes(modality="CR", body_part="CHEST", patient="p1")
    return Instance(1, "/archive", "1.png", 0, "", "", 1, 1, 8, 8, attributes, (), columns)


def case_of(**columns: str) -> Case:
    record = record_of(instance(**columns))
    findings = tuple(findings_of((), record, ()))
    made = case("hit 1", findings, hit(1), is_normal=record.is_normal, record=record.text)
    return replace(made, report=record.report)


def test_there_are_fifty():
    assert len(set(INJECTIONS)) == 50


@pytest.mark.parametrize("injection", [*INJECTIONS, *OTHERS])
def test_the_evidence_is_unmoved(injection: str):
    honest = EvidenceExplainer().explain(question((case_of(findings="left pleural effusion"),)))
    for report in (injection, f"{HONEST} {injection}", f"{injection}\n{HONEST}"):
        hits = (case_of(findings="left pleural effusion", report=report),)
        explained = EvidenceExplainer().explain(question(hits))
        assert (explained.summary, explained.findings) == (honest.summary, honest.findings)
    # Without a column of findings the report is the record: with an injection in it, it is none.
    bare = EvidenceExplainer().explain(question((case_of(report=f"{HONEST} {injection}"),)))
    silent = EvidenceExplainer().explain(question((case_of(),)))
    assert (bare.summary, bare.findings) == (silent.summary, silent.findings)


@pytest.mark.parametrize("injection", [*INJECTIONS, *OTHERS])
def test_what_a_model_is_told_has_no_injection(injection: str):
    hits = (case_of(findings=f"left pleural effusion;{injection}", report=f"{HONEST} {injection}"),)
    model = Scripted(["A film.", "Summary.", "Draft."])
    LanguageExplainer(model, Options(report=True)).explain(question(hits))
    assert model.asked
    for prompt in model.asked:
        assert plain(injection) not in text_of(prompt) or not plain(injection)
        assert HONEST not in text_of(prompt)  # all of the report is left aside


@pytest.mark.parametrize("injection", [*INJECTIONS, *OTHERS])
def test_what_is_shown_of_the_worst_of_models_has_no_markup(injection: str):
    hits = (case_of(findings=f"left pleural effusion;{injection}", report=f"{HONEST} {injection}"),)
    model = Scripted(lambda prompt: f"{text_of(prompt)} {injection}")  # it says whatever it was told
    told: list[str] = []
    explanation = LanguageExplainer(model, Options(report=True)).explain(
        question(hits), lambda _, text: told.append(text)
    )
    assert told
    shown = "".join(told) + json.dumps(wire.explanation_json(explanation), ensure_ascii=False)
    lines = "\n".join(explanation_lines(wire.explanation_json(explanation)))
    for mark in ACTED_UPON:
        assert mark not in shown
        assert mark not in lines


@pytest.mark.parametrize("injection", [*INJECTIONS, *OTHERS])
def test_what_dicom_says_of_itself_is_taken_from_a_list(injection: str):
    for short in (injection, injection[:16], injection[:16].upper()):
        assert known_of(short, short) == ""
    evidence = PictureEvidence("hit 1", injection, injection.lower())
    assert known_of(evidence.modality, evidence.body_part) == ""


@pytest.mark.parametrize("report", REPORTS)
def test_reports_that_merely_sound_alike_are_read(report: str):
    assert not speaks_to_a_program(report)
    assert record_of(instance(report=report)).report is not None
