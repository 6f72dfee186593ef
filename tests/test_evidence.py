import pytest
from explaining import case, hit, hits_of, question, recorded

from medsiglip_search.explain import Stated
from medsiglip_search.explain.comparing import differs, matches
from medsiglip_search.explain.evidence import EvidenceExplainer, asked_findings
from medsiglip_search.explain.picture_evidence import FindingEvidence


def kinds(explanation) -> list[tuple[str, str]]:
    return [(caution.kind, caution.subject) for caution in explanation.cautions]


def test_findings_are_counted_over_the_hits_that_record_any():
    hits = (*hits_of(["left effusion", "cardiomegaly"], ["left effusion"]), case("hit 3", hit=hit(3, "p2")))
    explanation = EvidenceExplainer().explain(question(hits))
    assert explanation.findings == (
        Stated("left effusion", ("record: hit 1", "record: hit 2")),
        Stated("cardiomegaly", ("record: hit 1",)),
    )
    assert "left effusion (2 of 2)" in explanation.summary
    assert "2 patients" in explanation.summary
    assert explanation.summary == explanation.evidence
    assert [caution.message for caution in explanation.cautions] == ["1 of 3 hits have no recorded findings."]
    assert explanation.state == "done"


def test_hits_that_do_not_agree_are_a_caution():
    assert kinds(EvidenceExplainer().explain(question(hits_of(["a"], ["b"], ["c"])))) == [
        ("agreement", "result")
    ]


def test_a_best_hit_that_does_not_stand_out_is_a_caution():
    for stands_out in (True, False):
        explanation = EvidenceExplainer().explain(question(hits_of(["a"]), matches=stands_out))
        assert kinds(explanation) == ([] if stands_out else [("match", "result")])


def test_no_hits_are_explained_too():
    explanation = EvidenceExplainer().explain(question((), asked='"zebra"'))
    assert explanation.summary == 'Nothing in the gallery answers "zebra".'
    assert explanation.findings == explanation.cases == ()


def test_why_a_hit_matches_and_differs_is_told_from_the_records():
    query = case("query", recorded("left pleural effusion", "cardiomegaly"))
    hits = hits_of(["left pleural effusion", "pacemaker"], ["right pleural effusion"])
    _, first, second = EvidenceExplainer().explain(question(hits, query)).cases
    assert (first.matches, first.differs) == (
        "Both show left pleural effusion.",
        "Only the hit shows pacemaker. Not seen in the hit: cardiomegaly.",
    )
    assert second.matches == "Both show pleural effusion, but on another side."
    assert first.image_id == 101


def test_the_words_of_a_query_are_what_hits_are_compared_with():
    hits = hits_of(["left pleural effusion"], ["pneumothorax"])
    asked = question(hits, asked='"left pleural effusion without pneumothorax"')
    assert asked_findings(asked) == ("left pleural effusion",)
    first, second = EvidenceExplainer().explain(asked).cases
    assert first.matches == "Shows left pleural effusion."
    assert second.differs == "Also shows pneumothorax. Not seen in the hit: left pleural effusion."


def test_what_the_encoder_sees_counts_where_nothing_is_recorded():
    scored = (
        FindingEvidence("pleural effusion", probability=0.95, left=0.9),
        FindingEvidence("pneumothorax", probability=0.6, left=0.5),
    )
    [shown] = EvidenceExplainer().explain(question((case("hit 1", scored, hit(1)),))).cases
    assert shown.findings == ("left pleural effusion",)
    beside = (*scored, *recorded("right pneumothorax"))
    explanation = EvidenceExplainer().explain(question((case("hit 1", beside, hit(1)),)))
    assert explanation.cases[0].findings == ("right pneumothorax",)


def test_a_record_that_the_encoder_hardly_sees_is_told():
    doubted = (FindingEvidence("pleural effusion", probability=0.1, recorded="present"),)
    explanation = EvidenceExplainer().explain(question((case("hit 1", doubted, hit(1)),)))
    assert "Recorded for hit 1, but hardly seen by the encoder: pleural effusion." in explanation.evidence


@pytest.mark.parametrize(
    ("asked", "shown", "why", "how"),
    [
        (["pleural effusion"], ["left pleural effusion"], "Both show pleural effusion.", ""),
        (["effusion"], ["left pleural effusion"], "Both show effusion.", ""),
        (
            ["bilateral pleural effusion"],
            ["left pleural effusion", "right pleural effusion"],
            "Both show bilateral pleural effusion.",
            "",
        ),
        (
            ["bilateral pleural effusion"],
            ["left pleural effusion"],
            "Both show pleural effusion, but on another side.",
            "",
        ),
        (["edema"], [], "", "Not seen in the hit: edema."),
        ([], ["edema"], "", "Only the hit shows edema."),
        (None, ["edema"], "", ""),
    ],
)
def test_findings_are_alike_by_name_and_side(asked, shown, why: str, how: str):
    assert (matches(asked, shown), differs(asked, shown)) == (why, how)


def test_nothing_is_said_to_differ_from_words_that_name_no_finding():
    [shown] = EvidenceExplainer().explain(question(hits_of(["edema"]), asked='"an old film"')).cases
    assert (shown.matches, shown.differs) == ("", "")


def test_where_the_encoder_agrees_with_the_records_is_told():
    agreeing = (FindingEvidence("edema", probability=0.9, recorded="present"),)
    beside = (FindingEvidence("pneumothorax", probability=0.99),)
    hits = (case("hit 1", agreeing, hit(1)), case("hit 2", (*agreeing, *beside), hit(2)))
    explanation = EvidenceExplainer().explain(question(hits))
    assert "The encoder sees what is recorded in hit 1 and hit 2." in explanation.evidence
    assert "The encoder also sees in hit 2: pneumothorax (0.99)." in explanation.evidence
    assert explanation.cases[1].scores == {"edema": 0.9, "pneumothorax": 0.99}
