"""What a text negates, word by word."""

import pytest

from medsiglip_search.querying.negation import Understood, understood


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("no pleural effusion", None, ["pleural effusion"]),
        ("No evidence of pneumothorax.", None, ["pneumothorax"]),
        ("there is no pneumothorax", None, ["pneumothorax"]),
        ("without any signs of a fracture", None, ["fracture"]),
        ("negative for effusion", None, ["effusion"]),
        ("absence of infiltrates", None, ["infiltrates"]),
        ("lungs free of infiltrates", "lungs", ["infiltrates"]),
        ("chest radiograph without pneumothorax", "chest radiograph", ["pneumothorax"]),
        ("left effusion, no pneumothorax, left nodule", "left effusion, left nodule", ["pneumothorax"]),
        ("effusion without pneumothorax but with pacemaker", "effusion, pacemaker", ["pneumothorax"]),
        ("no effusion with pneumothorax", "pneumothorax", ["effusion"]),
        ("enlarged heart and no pneumothorax", "enlarged heart", ["pneumothorax"]),
        ("no effusion and a pacemaker", "a pacemaker", ["effusion"]),
        ("no hemorrhage (but edema)", "edema", ["hemorrhage"]),
        ("Chest film. No effusion. Pacemaker.", "Chest film, Pacemaker", ["effusion"]),
        # lists
        ("no effusion or consolidation", None, ["effusion", "consolidation"]),
        ("neither effusion nor nodule", None, ["effusion", "nodule"]),
        ("no effusion, nodule or consolidation", None, ["effusion", "nodule", "consolidation"]),
        ("no effusion, nodule, or mass, cardiomegaly", "cardiomegaly", ["effusion", "nodule", "mass"]),
        ("without effusion and nodule", None, ["effusion", "nodule"]),
        ("no effusion no pneumothorax", None, ["effusion", "pneumothorax"]),
        ("no effusion, no effusion", None, ["effusion"]),
        # what comes before the word that negates
        ("pneumothorax is absent", None, ["pneumothorax"]),
        ("effusion; pneumothorax absent", "effusion", ["pneumothorax"]),
        ("left effusion, pneumothorax not seen", "left effusion", ["pneumothorax"]),
        ("fracture ruled out", None, ["fracture"]),
        # German
        ("ohne Erguss", None, ["Erguss"]),
        ("Infarkt ohne Blutung und Hydrozephalus", "Infarkt", ["Blutung", "Hydrozephalus"]),
        ("kein Nachweis eines Pneumothorax, Erguss links", "Erguss links", ["Pneumothorax"]),
        ("keine Hinweise auf Erguss oder Stauung", None, ["Erguss", "Stauung"]),
        ("keinen Rundherd, aber Erguss", "Erguss", ["Rundherd"]),
        ("weder Erguss noch Stauung", None, ["Erguss", "Stauung"]),
        ("Thorax, Pneumothorax nicht nachweisbar", "Thorax", ["Pneumothorax"]),
        ("Fraktur ausgeschlossen", None, ["Fraktur"]),
    ],
)
def test_what_is_negated_is_told_from_what_is_said(text, present, absent):
    assert understood(text) == Understood(present, tuple(absent))


@pytest.mark.parametrize(
    "text",
    [
        "left pleural effusion",
        "  left\tpleural effusion. ",
        "effusion cannot be excluded",
        "Erguss nicht ausgeschlossen",
        # said of a normal picture: an encoder knows it as a whole
        "no acute cardiopulmonary process",
        "no acute intracranial abnormality",
        "kein pathologischer Befund",
        # only parts of other words, or nothing to negate
        "nodule in the notch of the knoll",
        "no",
        "without",
        "no, without.",
        "",
        "...",
    ],
)
def test_a_text_that_negates_nothing_stays_as_it_is(text):
    assert understood(text) == Understood(text)


def test_ten_thousand_words_are_taken_apart():
    text = "opacity " * 5000 + "without nodule, " + "mass, " * 4000 + "no effusion or " + "fluid " * 1000
    found = understood(text)
    assert found.absent == ("nodule", "effusion", " ".join(["fluid"] * 1000))
    assert found.present.count("opacity") == 5000
    assert found.present.count("mass") == 4000
    assert understood("no nodule, " * 10_000) == Understood(None, ("nodule",))
