"""The explainer that asks a language model: what it asks, in which order, and what it makes of that."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from explaining import Scripted, case, hit, hits_of, question, recorded, text_of

from medsiglip_search.errors import ExplainerFailed, ExplainerRefused, Reason, Unreadable
from medsiglip_search.explain.chat import Abilities, Prompt
from medsiglip_search.explain.language import LanguageExplainer, Options
from medsiglip_search.explain.picture_evidence import FindingEvidence

HITS = hits_of(["left pleural effusion"], ["right pneumothorax"])
QUERY = case("query", recorded("left pleural effusion"), grey=77)


def describing(*findings: tuple[str, str], text: str = "Chest film.") -> str:
    named = ", ".join(f'{{"finding": "{name}", "side": "{side}"}}' for name, side in findings)
    return f'{text} {{"modality": "chest radiograph", "findings": [{named}], "normal": ["the heart"]}}'


EFFUSION = describing(("pleural effusion", "left"), text="Chest film. Left pleural effusion.")
PNEUMOTHORAX = describing(("pneumothorax", "right"), text="Chest film. Right pneumothorax.")
ANSWERS = [EFFUSION, EFFUSION, PNEUMOTHORAX, "The first hit shows the same effusion."]


def kinds(explanation) -> list[tuple[str, str]]:
    return [(caution.kind, caution.subject) for caution in explanation.cautions]


def test_each_picture_is_described_alone_with_the_same_words_then_all_are_compared():
    model = Scripted(ANSWERS)
    explanation = LanguageExplainer(model).explain(question(HITS, QUERY))
    *described, compared = model.asked
    assert [prompt.parts[0][0, 0, 0] for prompt in described] == [77, 1, 2]
    assert len({prompt.parts[1] for prompt in described}) == 1
    assert compared.pictures == 0
    for text in ("Left pleural effusion.", "Right pneumothorax.", '"effusion"'):
        assert text in text_of(compared)
    assert explanation.state == "done"
    assert explanation.summary == "The first hit shows the same effusion."
    assert [one.subject for one in explanation.cases] == ["query", "hit 1", "hit 2"]
    assert explanation.cases[1].matches == "Both show left pleural effusion."
    assert explanation.cases[2].differs == (
        "Only the hit shows right pneumothorax. Not seen in the hit: left pleural effusion."
    )
    assert kinds(explanation) == [("agreement", "result")]
    assert explanation.tokens == sum(len(answer.split()) for answer in ANSWERS)
    assert "left pleural effusion (1 of 2)" in explanation.evidence


def test_findings_tell_where_they_come_from():
    explanation = LanguageExplainer(Scripted(ANSWERS)).explain(question(HITS, QUERY))
    assert {one.finding: one.sources for one in explanation.findings} == {
        "left pleural effusion": ("record: query", "record: hit 1", "model: query", "model: hit 1"),
        "right pneumothorax": ("record: hit 2", "model: hit 2"),
    }


def test_what_is_said_is_checked_against_the_evidence():
    wrong = describing(("pneumothorax", "left"), text="Normal chest radiograph.")
    explanation = LanguageExplainer(Scripted([EFFUSION, EFFUSION, wrong, "Alike."])).explain(
        question(HITS, QUERY)
    )
    assert ("normal", "hit 2") in kinds(explanation)
    assert ("side", "hit 2") in kinds(explanation)
    assert {subject for _, subject in kinds(explanation)} == {"hit 2", "result"}


def test_what_people_see_while_it_is_made_is_sentences():
    told: dict[str, str] = {}

    def tell(subject: str, text: str) -> None:
        told[subject] = told.get(subject, "") + text

    LanguageExplainer(Scripted(ANSWERS)).explain(question(HITS, QUERY), tell)
    assert {subject: text.strip() for subject, text in told.items()} == {
        "query": "Chest film. Left pleural effusion.",
        "hit 1": "Chest film. Left pleural effusion.",
        "hit 2": "Chest film. Right pneumothorax.",
        "summary": "The first hit shows the same effusion.",
    }


def test_a_model_that_only_describes_is_not_asked_to_compare():
    model = Scripted([EFFUSION, EFFUSION], Abilities(pictures=1, writes=False))
    explanation = LanguageExplainer(model, Options(report=True)).explain(question(HITS[:1], QUERY))
    assert len(model.asked) == 2
    assert explanation.summary == "Described in all of query and hit 1: left pleural effusion."


def test_a_second_opinion_tells_disagreement():
    other = describing(("pleural effusion", "right"), ("cardiomegaly", "none"), text="Film.")
    model = Scripted([EFFUSION, other, "Summary."])
    explanation = LanguageExplainer(model, Options(second_opinion=True)).explain(question(HITS[:1]))
    assert model.asked[0].parts[1] != model.asked[1].parts[1]
    said = [caution.message for caution in explanation.cautions if caution.kind == "opinions"]
    assert said == [
        "Named only at first: left pleural effusion.",
        "Named only when asked in other words: right pleural effusion.",
        "Named only when asked in other words: cardiomegaly.",
    ]


def test_joint_shows_all_pictures_at_once_to_a_model_made_for_it():
    model = Scripted(ANSWERS, Abilities(pictures=3))
    LanguageExplainer(model, Options(joint=True)).explain(question(HITS, QUERY))
    assert [prompt.pictures for prompt in model.asked] == [1, 1, 1, 3]


def test_joint_falls_back_to_text_for_a_model_of_single_pictures_and_says_so():
    model = Scripted(ANSWERS)
    explanation = LanguageExplainer(model, Options(joint=True)).explain(question(HITS, QUERY))
    assert [prompt.pictures for prompt in model.asked] == [1, 1, 1, 0]
    assert ("joint", "result") in kinds(explanation)


def test_slices_are_wanted_of_a_model_that_takes_several_pictures():
    wanted: list[int] = []

    def slices(rendering: object, most: int) -> list[np.ndarray]:
        wanted.append(most)
        return [np.full((8, 8, 3), number, np.uint8) for number in range(most)]

    volume = replace(HITS[0], pictures=slices)
    model = Scripted([EFFUSION, "Summary."], Abilities(pictures=85))
    LanguageExplainer(model).explain(question((volume,)))
    assert wanted == [16]
    assert [part[0, 0, 0] for part in model.asked[0].parts if not isinstance(part, str)] == list(range(16))


def test_another_model_summarises_the_reports_and_drafts_one_from_the_findings():
    hits = (replace(HITS[0], report="Small effusion."), replace(HITS[1], report="Collapsed lung."))
    model = Scripted(ANSWERS)
    reader = Scripted(["Both are abnormal.", "Findings: left pleural effusion."], Abilities(pictures=0))
    explanation = LanguageExplainer(model, Options(report=True), reader).explain(question(hits, QUERY))
    reports, draft = map(text_of, reader.asked)
    assert "Report of hit 1:\n||||\nSmall effusion.\n||||" in reports
    assert "left pleural effusion" in draft
    assert "Normal: the heart" in draft
    assert (explanation.reports, explanation.draft) == (
        "Both are abnormal.",
        "Findings: left pleural effusion.",
    )


def test_a_draft_is_checked_too():
    reader = Scripted(["Impression: cardiomegaly."], Abilities(pictures=0))
    explanation = LanguageExplainer(Scripted(ANSWERS), Options(report=True), reader).explain(
        question(HITS, QUERY)
    )
    assert ("unsupported", "draft") in kinds(explanation)


def test_a_model_of_text_alone_compares_the_records():
    model = Scripted(["They share an effusion."], Abilities(pictures=0))
    explanation = LanguageExplainer(model).explain(question(hits_of(["edema"], record="Findings: edema")))
    assert "Record of hit 1:\n||||\nFindings: edema" in text_of(model.asked[0])
    assert (explanation.state, explanation.summary) == ("done", "They share an effusion.")


def test_an_answer_in_another_form_is_kept_as_text_and_marked():
    explanation = LanguageExplainer(Scripted(["Left pleural effusion.", "Summary."])).explain(
        question(HITS[:1])
    )
    [one] = explanation.cases
    assert (one.description, one.parsed) == ("Left pleural effusion.", False)
    assert one.findings == ("left pleural effusion",)  # as its sentences have it
    assert ("form", "hit 1") in kinds(explanation)


@pytest.mark.parametrize("ended", ["loop", "length"])
def test_an_answer_that_was_cut_off_is_marked(ended):
    model = Scripted([EFFUSION, "Summary."], ended=ended)
    explanation = LanguageExplainer(model).explain(question(HITS[:1]))
    assert (ended, "hit 1") in kinds(explanation)


@pytest.mark.parametrize("answered", [0, 1, 3])
def test_what_was_said_until_the_model_broke_down_is_kept(answered: int):
    explanation = LanguageExplainer(Scripted(ANSWERS[:answered])).explain(question(HITS, QUERY))
    assert (explanation.state, explanation.problem) == ("partial", "the server is gone")
    said = [one.description for one in explanation.cases if one.description] + [explanation.summary]
    assert len([one for one in said if "Half of a sentence" not in one and "Chest film." in one]) == answered
    assert [one for one in said if one == "Half of a sentence"] == ["Half of a sentence"]
    assert "left pleural effusion (1 of 2)" in explanation.evidence


def test_a_model_that_says_nothing_has_failed():
    def silent(prompt: Prompt) -> str:
        raise ExplainerFailed("cannot be reached")

    explanation = LanguageExplainer(Scripted(silent)).explain(question(HITS, QUERY))
    assert (explanation.state, explanation.summary) == ("failed", "")


def test_a_question_that_is_refused_is_told_and_the_others_are_asked():
    def answer(prompt: Prompt) -> str:
        if prompt.pictures and prompt.parts[0][0, 0, 0] == 1:
            raise ExplainerRefused("withheld the answer")
        return EFFUSION if prompt.pictures else "Summary."

    explanation = LanguageExplainer(Scripted(answer)).explain(question(HITS, QUERY))
    assert ("refused", "hit 1") in kinds(explanation)
    assert [bool(one.description) for one in explanation.cases] == [True, False, True]
    assert (explanation.state, explanation.summary) == ("partial", "Summary.")


def test_a_picture_that_cannot_be_read_is_told_and_the_others_are_described():
    def unreadable(rendering: object, most: int) -> list[np.ndarray]:
        raise Unreadable(Reason.UNREADABLE, "Its file is gone.")

    hits = (replace(HITS[0], pictures=unreadable), HITS[1])
    explanation = LanguageExplainer(Scripted([PNEUMOTHORAX, "Summary."])).explain(question(hits))
    assert ("unread", "hit 1") in kinds(explanation)
    assert [one.description for one in explanation.cases] == ["", "Chest film. Right pneumothorax."]
    assert explanation.state == "partial"
    assert explanation.problem == "1 of 2 pictures are not described; see the warnings"


def test_it_ends_when_nobody_wants_it_any_more():
    stop = threading.Event()
    told: list[str] = []

    def tell(subject: str, text: str) -> None:
        told.append(subject)
        if subject == "hit 1":
            stop.set()

    model = Scripted(ANSWERS)
    explanation = LanguageExplainer(model).explain(question(HITS, QUERY), tell, stop)
    assert explanation.state == "cancelled"
    assert len(model.asked) == 2
    assert explanation.cases[0].description == "Chest film. Left pleural effusion."
    assert set(told) == {"query", "hit 1"}


def test_no_hit_of_a_text_asks_nothing():
    model = Scripted([])
    explanation = LanguageExplainer(model).explain(question((), asked='"zebra"'))
    assert model.asked == []
    assert explanation.evidence == 'Nothing in the gallery answers "zebra".'
    assert explanation.state == "done"


def test_the_same_questions_have_the_same_digest():
    def digest(grey: int) -> str:
        hits = (case("hit 1", recorded("edema"), hit(1), grey=grey),)
        return LanguageExplainer(Scripted([EFFUSION, "Summary."])).explain(question(hits)).prompt_digest

    assert digest(1) == digest(1) != digest(2)


def test_what_a_model_says_is_shown_as_plain_text():
    def echo(prompt: Prompt) -> str:
        return "<script>alert(1)</script> [here](https://evil.example) \x1b[2J" + text_of(prompt)

    explanation = LanguageExplainer(Scripted(echo), Options(report=True)).explain(question(HITS, QUERY))
    said = [explanation.summary, explanation.draft, *(one.description for one in explanation.cases)]
    assert not any(mark in text for text in said for mark in ("<", "https:", "\x1b", "]("))


def test_evidence_scored_by_the_encoder_catches_an_invented_finding():
    scored = (FindingEvidence("pneumothorax", probability=0.02),)
    hits = (case("hit 1", scored, hit(1)),)
    explanation = LanguageExplainer(Scripted([PNEUMOTHORAX, "Summary."])).explain(question(hits))
    assert ("unsupported", "hit 1") in kinds(explanation)


def test_a_failure_message_reaches_the_explanation():
    def broken(prompt: Prompt) -> str:
        raise ExplainerFailed("500 from the server")

    assert LanguageExplainer(Scripted(broken)).explain(question(HITS)).problem == "500 from the server"


@pytest.mark.parametrize(
    ("summary", "kind"),
    [
        ("All of the pictures are normal.", "normal"),
        ("Both hits show a right pleural effusion.", "side"),
        ("A fracture is seen in both.", "unsupported"),
        ("There is no pleural effusion.", "contradicted"),
        ("Each shows a left pleural effusion.", None),
        ("The second has cardiomegaly besides the effusion.", None),
    ],
)
def test_a_summary_is_held_against_all_pictures(summary: str, kind: str | None):
    hits = hits_of(["left pleural effusion"], ["left pleural effusion", "cardiomegaly"])
    explanation = LanguageExplainer(Scripted([EFFUSION, EFFUSION, summary])).explain(question(hits))
    told = [caution.kind for caution in explanation.cautions if caution.subject == "summary"]
    assert told == ([kind] if kind else [])


def test_a_summary_of_reports_is_checked_too():
    hits = (replace(HITS[0], report="Small effusion."), HITS[1])
    answers = [EFFUSION, PNEUMOTHORAX, "Summary.", "All tell of a hip fracture.", "Draft."]
    explanation = LanguageExplainer(Scripted(answers), Options(report=True)).explain(question(hits))
    assert ("unsupported", "reports") in kinds(explanation)


def test_a_finding_that_the_json_alone_names_is_not_unsaid():
    answer = describing(("pleural effusion", "left"), text="Chest film.")
    explanation = LanguageExplainer(Scripted([answer, "Summary."])).explain(question(HITS[:1]))
    assert explanation.cases[0].cautions == ()


def test_one_mistake_in_sentences_and_json_is_one_caution():
    answer = describing(("pneumothorax", "left"), text="Left pneumothorax and left pleural effusion.")
    [one] = LanguageExplainer(Scripted([answer, "Summary."])).explain(question(HITS[:1])).cases
    assert [caution.kind for caution in one.cautions] == ["unsupported"]


def test_joint_without_a_readable_picture_is_asked_in_text():
    def unreadable(rendering: object, most: int) -> list[np.ndarray]:
        raise Unreadable(Reason.UNREADABLE, "Its file is gone.")

    model = Scripted(ANSWERS[1:], Abilities(pictures=3))
    hits = (replace(HITS[0], pictures=unreadable), HITS[1])
    explanation = LanguageExplainer(model, Options(joint=True)).explain(question(hits, QUERY))
    assert {("joint", "result"), ("unread", "hit 1")} <= set(kinds(explanation))
    assert model.asked[-1].pictures == 0


def test_a_volume_is_checked_against_all_of_its_slices():
    bleed = (FindingEvidence("intracerebral hemorrhage", recorded="present"),)
    slices = [np.zeros((8, 8, 3), np.uint8)] * 3
    shown = case("hit 1", (), hit(1, modality="CT"), modality="CT")
    whole = replace(shown.evidence, body_part="head", findings=bleed)
    volume = replace(shown, pictures=lambda *_: slices, whole=lambda: whole)
    answer = describing(("intracerebral hemorrhage", "none"), text="Head CT. Intracerebral hemorrhage.")
    for pictures, kept in ((85, []), (1, ["unsupported"])):
        model = Scripted([answer, "Summary."], Abilities(pictures=pictures))
        one = replace(volume, pictures=lambda _, most: slices[:most])
        [explained] = LanguageExplainer(model).explain(question((one,))).cases
        assert [c.kind for c in explained.cautions if c.kind == "unsupported"] == kept


def test_a_model_that_takes_pictures_drafts_from_the_picture_too():
    model = Scripted([EFFUSION, "Summary.", "Draft."])
    LanguageExplainer(model, Options(report=True)).explain(question(HITS[:1]))
    assert [prompt.pictures for prompt in model.asked] == [1, 0, 1]
