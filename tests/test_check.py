import pytest
from checker_cases import FOLDER, figures_of, pairs_of
from work import at_most

from medsiglip_search.explain.check import check, is_denied, is_evident, is_supported
from medsiglip_search.explain.picture_evidence import CHECKED, Caution, FindingEvidence, PictureEvidence

LEFT = frozenset({"left"})


def picture(*findings: FindingEvidence, **known) -> PictureEvidence:
    return PictureEvidence("hit 1", **{"modality": "CR", "body_part": "chest", **known}, findings=findings)


def effusion(**known) -> FindingEvidence:
    return FindingEvidence("pleural effusion", **known)


def kinds(text: str, evidence: PictureEvidence) -> list[str]:
    return [caution.kind for caution in check(text, evidence)]


RECORDED = picture(effusion(recorded="present", recorded_sides=LEFT))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_expected_cautions_are_raised_and_few_others(path) -> None:
    figures = figures_of(pairs_of(path))
    told = "\n".join(figures.faults)
    assert figures.sensitivity >= 0.95, told
    assert figures.false_alarms <= 0.05, told
    assert figures.stray <= 0.05, told


def test_half_of_the_pairs_expect_nothing() -> None:
    pairs = pairs_of(FOLDER / "own.yaml")
    assert len(pairs) >= 110
    assert 0.4 <= sum(not pair.expected for pair in pairs) / len(pairs) <= 0.6
    assert {kind for pair in pairs for kind, _ in pair.expected} == set(CHECKED)


def test_a_caution_says_what_the_text_says_and_what_is_known() -> None:
    assert check("There is a right pleural effusion. The heart is normal.", RECORDED) == (
        Caution(
            "side",
            "hit 1",
            "The text names a right pleural effusion; recorded is one on the left.",
            "There is a right pleural effusion.",
        ),
    )


def test_each_caution_is_told_once_and_in_the_order_of_the_text() -> None:
    text = "A nodule. A normal radiograph? No effusion. A nodule. No pleural fluid. A fracture."
    assert kinds(text, RECORDED) == ["unsupported", "contradicted", "unsupported"]


def test_an_empty_text_leaves_evident_findings_unsaid() -> None:
    assert kinds("", RECORDED) == ["unsaid"]
    assert kinds("", picture()) == []


def test_a_picture_of_which_nothing_is_known_supports_no_finding_and_contradicts_no_normal() -> None:
    unknown = PictureEvidence("query")
    assert kinds("Normal head CT.", unknown) == []
    assert kinds("A nodule.", unknown) == ["unsupported"]


@pytest.mark.parametrize(
    ("each", "supported", "evident", "denied"),
    [
        (effusion(), False, False, False),
        (effusion(recorded="present"), True, True, False),
        (effusion(recorded="absent"), False, False, True),
        (effusion(probability=0.5), True, False, False),
        (effusion(probability=0.8), True, True, False),
        (effusion(probability=0.85, threshold=0.9), False, False, False),
        (effusion(probability=0.24), False, False, True),
        (effusion(probability=0.9, recorded="absent"), True, False, True),
        (effusion(probability=0.1, recorded="present"), True, True, False),
    ],
)
def test_supported_evident_and_denied(each, supported, evident, denied) -> None:
    assert (is_supported(each, "hit 1"), is_evident(each), is_denied(each)) == (supported, evident, denied)


def test_hits_support_a_finding_of_the_query_only() -> None:
    assert is_supported(effusion(hits=1, of=2), "query")
    assert not is_supported(effusion(hits=1, of=1), "query")
    assert not is_supported(effusion(hits=1, of=3), "query")
    assert not is_supported(effusion(hits=3, of=3), "hit 1")


def test_what_is_recorded_absent_is_contradicted_whatever_the_encoder_says() -> None:
    assert kinds("An effusion.", picture(effusion(recorded="absent", probability=0.9))) == ["contradicted"]


def test_an_unrecorded_side_is_judged_by_the_encoder() -> None:
    right = picture(effusion(probability=0.9, left=0.2))
    assert kinds("Left effusion.", right) == ["side"]
    assert kinds("Right effusion.", right) == []
    assert kinds("Left effusion.", picture(effusion(probability=0.9, left=0.4))) == []
    assert kinds("No left effusion.", right) == []


def test_a_finding_recorded_without_a_side_is_on_any() -> None:
    assert kinds("Bilateral effusions.", picture(effusion(recorded="present"))) == []


def test_wider_and_narrower_names_are_the_same() -> None:
    brain = PictureEvidence(
        "hit 1", "CT", "head", (FindingEvidence("intracerebral hemorrhage", recorded="present"),)
    )
    assert kinds("There is a haemorrhage.", brain) == []
    assert kinds("No bleed.", brain) == ["contradicted"]
    assert kinds("There is a haemorrhage, but no subdural hematoma.", brain) == []


def test_the_evidence_brings_words_of_its_own() -> None:
    own = picture(FindingEvidence("vanishing sign", ("blue halo", "haloes of blue"), recorded="present"))
    assert kinds("Blue halo at the apex.", own) == []
    assert kinds("No haloes of blue.", own) == ["contradicted"]
    assert kinds("Vanishing signs are seen.", own) == []


def test_an_unknown_name_is_of_the_kind_that_its_last_words_name() -> None:
    own = picture(FindingEvidence("hairline fracture", recorded="present"))
    assert kinds("There is a fracture.", own) == []


@pytest.mark.parametrize("code", ["OT", "SC", "??", ""])
def test_a_code_that_tells_nothing_fits_every_kind_of_picture(code) -> None:
    assert kinds("A CT of the chest.", picture(modality=code)) == []


def test_organs_beside_those_of_the_picture_are_no_mistake() -> None:
    assert kinds("The liver and the shoulders are seen at the edges.", picture()) == []
    assert kinds("CT of the knee.", picture(modality="CT")) == ["organ"]


@pytest.mark.parametrize(
    "piece",
    [
        "no ",
        "no effusion, ",
        "((((",
        "{[",
        '{"finding": ',
        "left right ",
        "effusion or ",
        "not ",
        "heart is ",
        "no a a a a ",
        "normal and ",
        "a\n",
        "hit 2, which ",
        "x" * 50 + " ",
        ". ",
        "-",
        "effusion and pneumothorax are ",
        "\u201c",
    ],
)
def test_the_work_grows_with_the_length_of_the_text(piece) -> None:
    def text(size):
        return piece * (size // len(piece))

    with at_most(calls=1_000_000) as short:
        check(text(2_000), RECORDED)
    with at_most(calls=20 * short.calls):  # what grows with the square is 100-fold
        check(text(20_000), RECORDED)
    # A regular expression that did would take minutes.
    check(text(100_000), RECORDED)


def test_a_megabyte_of_denials_is_read_once() -> None:
    # What grows with the square of the length would take hours.
    assert kinds("no pleural effusion, (({[" * 42_000, RECORDED) == ["contradicted"]
