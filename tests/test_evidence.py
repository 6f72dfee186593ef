from medsiglip_search.explain import Support
from medsiglip_search.explain.evidence import EvidenceExplainer
from medsiglip_search.records import Attributes, Hit, Instance, Result


def hit(rank: int, findings: str | None, patient: str = "p1", relevance: float = 9.0) -> Hit:
    sidecar = {} if findings is None else {"findings": findings}
    instance = Instance(
        rank,
        "/archive",
        f"{rank}.png",
        0,
        "",
        "",
        1,
        1,
        8,
        8,
        Attributes(modality="CR", patient=patient),
        (),
        sidecar,
    )
    return Hit(instance, 0.5, relevance, rank)


def test_findings_are_counted_over_the_hits_that_record_any():
    hits = [hit(1, "left effusion;cardiomegaly"), hit(2, "left effusion", "p2"), hit(3, None)]
    explanation = EvidenceExplainer().explain("effusion", hits)
    assert explanation.findings == (Support("left effusion", 2, 2), Support("cardiomegaly", 1, 2))
    assert "left effusion (2 of 2)" in explanation.summary
    assert "2 patients" in explanation.summary
    assert explanation.warnings == ("1 of 3 hits have no recorded findings.",)


def test_hits_that_do_not_agree_are_a_warning():
    explanation = EvidenceExplainer().explain("x", [hit(1, "a"), hit(2, "b"), hit(3, "c")])
    assert explanation.warnings == ("The hits do not agree on a finding.",)


def test_a_best_hit_that_does_not_stand_out_is_a_warning():
    (warning,) = EvidenceExplainer().explain("x", [hit(1, "a", relevance=5.9)]).warnings
    assert "perhaps nothing here matches" in warning


def test_a_result_says_itself_whether_it_matches():
    for matches in (True, False):
        result = Result((hit(1, "a", relevance=0.4 if matches else 99.0),), matches)
        assert bool(EvidenceExplainer().explain("x", result).warnings) is not matches


def test_no_hits_are_explained_too():
    explanation = EvidenceExplainer().explain("zebra", [])
    assert explanation.summary == 'Nothing in the gallery answers "zebra".'
    assert explanation.findings == ()
