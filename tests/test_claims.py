import pytest

from medsiglip_search.explain.claims import claims
from medsiglip_search.explain.claims.lexicon import Lexicon, fits_modality, normal_form, regions


def findings(text: str, **more) -> list[str]:
    """Return the findings of a text, a "-" before those that it denies, the side in front."""
    found = [claim for claim in claims(text, **more) if claim.kind == "finding" and not claim.implied]
    return [
        f"{'-' * (claim.polarity == 'absent')}{claim.side + ' ' if claim.side else ''}{claim.name}"
        for claim in found
    ]


def denied_by_structure(text: str) -> set[str]:
    return {claim.name for claim in claims(text) if claim.implied and claim.polarity == "absent"}


def says_normal(text: str) -> bool:
    return any(claim.kind == "normal" for claim in claims(text))


def named(text: str, kind: str) -> list[str]:
    return [claim.name for claim in claims(text) if claim.kind == kind]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion, pneumothorax or consolidation.", ["-effusion", "-pneumothorax", "-consolidation"]),
        ("No effusion, small left pneumothorax.", ["-effusion", "left pneumothorax"]),
        ("No effusion and a large nodule.", ["-effusion", "nodule"]),
        ("No effusion is seen and there is a nodule.", ["-effusion", "nodule"]),
        ("Without effusion but with a nodule.", ["-effusion", "nodule"]),
        ("Neither pneumothorax nor effusion is seen.", ["-pneumothorax", "-effusion"]),
        ("Effusion and pneumothorax are not seen.", ["-effusion", "-pneumothorax"]),
        ("There is an effusion, pneumothorax is absent.", ["effusion", "-pneumothorax"]),
        ("The heart is not enlarged.", ["-cardiomegaly"]),
        ("The effusion has resolved.", ["-effusion"]),
        ("Pneumothorax: none; effusion: yes", ["-pneumothorax", "effusion"]),
        ("Cardiomegaly - absent", ["-cardiomegaly"]),
        ("Absent: edema, fracture. Present: nodule.", ["-edema", "-fracture", "nodule"]),
        ("Pneumothorax cannot be excluded.", ["pneumothorax"]),
        ("Not only an effusion.", ["effusion"]),
        ("No change in the effusion.", ["effusion"]),
        ("No other nodule.", []),
        ("A naevus rather than a melanoma.", ["nevus", "-melanoma"]),
    ],
)
def test_what_a_denial_reaches(text, expected) -> None:
    assert findings(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Left pleural effusion and right pneumothorax.", ["left pleural effusion", "right pneumothorax"]),
        ("Effusion on the left and nodule on the right.", ["left effusion", "right nodule"]),
        ("Effusion, left greater than right.", ["both effusion"]),
        ("Bilateral effusions, more on the left.", ["both effusion"]),
        ("In the right lower lobe there is an effusion.", ["right effusion"]),
        ("The left lung shows a nodule.", ["left nodule"]),
        ("A right-sided nodule.", ["right nodule"]),
        ("Nodule and effusion on the right.", ["right nodule", "right effusion"]),
        ("Effusion next to the left ventricle.", ["effusion"]),
        ("The head is turned right; edema.", ["edema"]),
        ("No left effusion, only a right one.", ["-left effusion"]),
        (
            '{"finding": "edema", "side": "left"}, {"finding": "nodule", "side": "none"}',
            ["left edema", "nodule"],
        ),
    ],
)
def test_to_which_finding_a_side_belongs(text, expected) -> None:
    assert findings(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "History of pneumonia.",
        "He was treated for an effusion.",
        "The prior film showed a pneumothorax.",
        "Unlike hit 2, which shows a nodule, this is small.",
        "Hit 2 shows a nodule and an effusion.",
        "Rule out effusion.",
        "The query asks for left effusion.",
        "Is there an effusion?",
        "Indication: fracture.",
        "Search for pneumothorax.",
    ],
)
def test_what_is_told_of_something_else_is_no_claim(text) -> None:
    assert findings(text) == []


def test_the_subject_of_a_text_is_no_other_picture() -> None:
    assert findings("Hit 2 shows a nodule.", subject="hit 2") == ["nodule"]
    assert findings("The query shows a nodule.", subject="query") == ["nodule"]
    assert findings("The query shows a nodule.", subject="hit 2") == []


@pytest.mark.parametrize("word", ["possible", "probable", "suspected", "questionable"])
def test_doubts_are_noted(word) -> None:
    (claim,) = claims(f"A {word} nodule.")
    assert claim.hedged
    assert claim.polarity == "present"


@pytest.mark.parametrize(
    "text",
    [
        "Normal chest radiograph.",
        "Unremarkable study.",
        "The image is within normal limits.",
        "No acute cardiopulmonary process.",
        "No abnormality is seen.",
        "Impression: normal.",
        "Findings: none.",
        "Healthy retina.",
        "Nothing abnormal.",
    ],
)
def test_the_picture_is_called_normal(text) -> None:
    assert says_normal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The heart size is normal.",
        "No other abnormality.",
        "Otherwise unremarkable study.",
        "Normal except for a nodule.",
        "Not a normal radiograph.",
        "The bones are unremarkable.",
        "No bony abnormality.",
        "The prior film was normal.",
    ],
)
def test_one_structure_or_the_rest_being_normal_is_no_normal_picture(text) -> None:
    assert not says_normal(text)


def test_a_normal_structure_denies_what_would_be_seen_there() -> None:
    assert denied_by_structure("Heart size is normal and the lungs are clear.") == {"cardiomegaly", "opacity"}
    assert denied_by_structure("Normal heart, clear lungs.") == {"cardiomegaly", "opacity"}
    assert denied_by_structure("The lungs are clear except for a nodule.") == set()
    assert denied_by_structure('{"normal": ["heart", "pleura"]}') == {
        "cardiomegaly",
        "pleural effusion",
        "pneumothorax",
    }


def test_kinds_of_pictures_and_organs_are_named() -> None:
    assert named("Axial CT of the brain.", "modality") == ["CT"]
    assert named("Axial CT of the brain.", "organ") == ["head"]
    assert named("Follow-up MRI is recommended.", "modality") == []
    assert named("The femoral head is round.", "organ") == ["lower limb"]
    assert named("On the other hand.", "organ") == []


def test_a_claim_says_where_it_stands() -> None:
    text = "All is well. There is a small left pleural effusion."
    (claim,) = [claim for claim in claims(text) if claim.kind == "finding"]
    assert text[slice(*claim.span)] == "pleural effusion"
    assert claim.quote == "There is a small left pleural effusion."


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("Haemorrhages", "hemorrhage"),
        ("oedema", "edema"),
        ("tumours", "tumor"),
        ("opacities", "opacity"),
        ("metastases", "metastasis"),
        ("masses", "mass"),
        ("pneumothoraces", "pneumothorax"),
        ("naevi", "nevus"),
        ("thrombus", "thrombus"),
        ("haematomas", "hematoma"),
    ],
)
def test_spelling_and_plural(word, form) -> None:
    assert normal_form(word) == form


def test_names_imply_wider_names() -> None:
    lexicon = Lexicon()
    assert lexicon.concept("pleural fluid") == "pleural effusion"
    assert lexicon.same("subdural haematoma", "bleed")
    assert not lexicon.same("subdural hematoma", "intracerebral hemorrhage")
    assert "malignancy" in lexicon.wider("melanoma")


def test_codes_and_body_parts_of_dicom() -> None:
    assert fits_modality("radiograph", "DX") is True
    assert fits_modality("radiograph", "CT") is False
    assert fits_modality("radiograph", "OT") is None
    assert regions("CHESTABDPELVIS", None) == {"chest", "abdomen", "pelvis"}
    assert regions("shoulder and arm", None) == {"upper limb"}
    assert regions(None, "OP") == {"eye"}
    assert regions(None, "CT") == frozenset()
