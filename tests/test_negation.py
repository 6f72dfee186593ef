"""What a text negates, word by word."""

import unicodedata

import pytest
from work import at_most

from medsiglip_search.commands.search import _lines
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
        ("Pneumothorax kann ausgeschlossen werden", None, ["Pneumothorax"]),
        # lists by commas, and what looks like one
        ("no effusion, nodule, or consolidation", None, ["effusion", "nodule", "consolidation"]),
        (
            "no focal consolidation, pleural effusion, or pneumothorax",
            None,
            ["focal consolidation", "pleural effusion", "pneumothorax"],
        ),
        ("no effusion, nodule or focal consolidation", None, ["effusion", "nodule", "focal consolidation"]),
        ("kein Erguss, Rundherd oder Infiltrat", None, ["Erguss", "Rundherd", "Infiltrat"]),
        ("no pneumothorax, or large effusion", None, ["pneumothorax", "large effusion"]),
        ("no effusion, or nodule, or mass", None, ["effusion", "nodule", "mass"]),
        ("neither effusion, nor nodule, nor mass", None, ["effusion", "nodule", "mass"]),
        ("no effusion, nodule", "nodule", ["effusion"]),
        ("no effusion, nodule or mass, cyst", "cyst", ["effusion", "nodule", "mass"]),
        (
            "no pneumothorax, small or moderate pleural effusion",
            "small or moderate pleural effusion",
            ["pneumothorax"],
        ),
        ("kein Pneumothorax, Erguss rechts oder links", "Erguss rechts oder links", ["Pneumothorax"]),
        (
            "no effusions or infiltrates, normal heart or mild enlargement",
            "normal heart or mild enlargement",
            ["effusions", "infiltrates"],
        ),
        (
            "no pneumothorax, normal heart or mild enlargement",
            "normal heart or mild enlargement",
            ["pneumothorax"],
        ),
        ("no pleural or pericardial effusion", None, ["pleural or pericardial effusion"]),
        ("keine kleinen oder großen Rundherde", None, ["kleinen oder großen Rundherde"]),
        ("no right- or left-sided effusion", None, ["right- or left-sided effusion"]),
        ("no effusion left or right", None, ["effusion left or right"]),
        # what ends the reach
        *(
            (f"no pneumothorax {end} pleural effusion", "pleural effusion", ["pneumothorax"])
            for end in [
                "-",
                "\u2013",
                "\u2014",
                "+",
                "\u2026",
                "...",
                "\n",
                "\r\n",
                ";",
                "\u2022",
                "*",
                "but",
            ]
        ),
        ("no pneumothorax\u2014pleural effusion", "pleural effusion", ["pneumothorax"]),
        ("no pneumothorax;effusion", "effusion", ["pneumothorax"]),
        ("no left-sided effusion", None, ["left-sided effusion"]),
        ("Aufnahme ohne Kontrastmittel zeigt Erguss", "Aufnahme, Erguss", ["Kontrastmittel"]),
        ("no effusion as well as cardiomegaly", "cardiomegaly", ["effusion"]),
        ("left effusion and pneumothorax not seen", "left effusion", ["pneumothorax"]),
        ("Erguss links und Pneumothorax nicht nachweisbar", "Erguss links", ["Pneumothorax"]),
        ("effusion or pneumothorax not seen", None, ["effusion", "pneumothorax"]),
        ("lungs absent effusion", "lungs", ["effusion"]),
        # a general name with a word of its own
        ("no interstitial lung disease", None, ["interstitial lung disease"]),
        ("no acute finding suggesting fracture", None, ["acute finding suggesting fracture"]),
        ("no metastatic disease", None, ["metastatic disease"]),
        ("no degenerative changes", None, ["degenerative changes"]),
        ("no degenerative changes of the spine", None, ["degenerative changes of the spine"]),
        ("keine degenerativen Veränderungen", None, ["degenerativen Veränderungen"]),
        ("without emphysematous changes", None, ["emphysematous changes"]),
        ("no free air", None, ["free air"]),
        # what is of a place goes with it
        ("no nodule in the left or right lung", None, ["nodule in the left or right lung"]),
        ("no fracture of the radius or ulna", None, ["fracture of the radius or ulna"]),
        ("no signs of effusion or of stasis", None, ["effusion", "of stasis"]),
        ("no pneumothorax, probable effusion or mass", "probable effusion or mass", ["pneumothorax"]),
        # further wordings
        ("chest film: no effusion", "chest film", ["effusion"]),
        ("no T2* signal", None, ["T2* signal"]),
        ("CT w/o contrast", "CT", ["contrast"]),
        ("no pneumothorax is seen", None, ["pneumothorax"]),
        ("kein Erguss mehr nachweisbar", None, ["Erguss"]),
        ("pneumothorax: none", None, ["pneumothorax"]),
        ("Pneumothorax: nil. Effusion: left", "Effusion: left", ["Pneumothorax"]),
        ("no pneumothorax, no change in effusion", "no change in effusion", ["pneumothorax"]),
        # signs around it
        *(
            (text.format("no pneumothorax"), None, ["pneumothorax"])
            for text in [
                '"{}"',
                "\u201c{}\u201d",
                "\u201e{}\u201c",
                "'{}'",
                "\u2018{}\u2019",
                "\u00ab{}\u00bb",
                "\u00bb{}\u00ab",
                "* {}",
                "[{}]",
                "({})",
                "\u2014 {}",
                "- {}",
                "\u2022 {}",
                "\ufeff{}",
                "{} !",
                "_{}_",
            ]
        ),
        ('"pneumothorax not seen"', None, ["pneumothorax"]),
        ('no "pneumothorax"', None, ["pneumothorax"]),
        ('no "nodule" or "mass"', None, ["nodule", "mass"]),
        ('"no pneumothorax" left effusion', "left effusion", ["pneumothorax"]),
        ("left effusion, \u2014 no pneumothorax", "left effusion", ["pneumothorax"]),
        (unicodedata.normalize("NFD", "negativ für Erguss"), None, ["Erguss"]),
        ("NO EFFUSION", None, ["EFFUSION"]),
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
        "no abnormality",
        "no abnormalities detected",
        "no acute abnormality seen",
        "no acute osseous abnormality of the left hand",
        "no evidence of acute pulmonary disease",
        "keine Auffälligkeiten erkennbar",
        unicodedata.normalize("NFD", "keine Auffälligkeiten"),
        "keine Veränderungen",
        "abnormality not seen",
        # negations in form only
        "no change in pleural effusion",
        "no significant change in pleural effusion",
        "no change of the pleural effusion",
        "no increase in pleural effusion",
        "no interval growth of the nodule",
        "Keine Zunahme des Pleuraergusses",
        "keine Größenzunahme oder neuer Rundherd",
        "keine Veränderung des Pleuraergusses",
        "no more than mild cardiomegaly",
        "no nodule larger than 5 mm",
        "without doubt pneumothorax",
        "no doubt pneumothorax",
        "kein Zweifel: Pneumothorax",
        "pneumothorax no longer seen",
        "no other fracture",
        # undone
        "pleural effusion cannot be entirely excluded",
        "pleural effusion can\u2019t be excluded",
        "pleural effusion not definitely excluded",
        "pleural effusion is not excluded",
        "pleural effusion cannot be completely ruled out",
        "pneumothorax should be ruled out",
        "Pneumothorax kann nicht sicher ausgeschlossen werden",
        "Pneumothorax ist nicht sicher ausgeschlossen",
        "not without effusion",
        "nicht ohne Erguss",
        "no absence of effusion",
        "no fracture can be excluded",
        # said of another picture, or of only a part of this one
        "new pleural effusion not seen on prior exam",
        "new pleural effusion not seen in previous study",
        "Erguss, auf der vorherigen Aufnahme nicht sichtbar",
        "Erguss nicht sichtbar in der Voraufnahme",
        "effusion previously not seen",
        "no effusion on prior exam",
        "pneumothorax is absent on the left",
        "pneumothorax absent on the left",
        # both, or a number
        "CT abdomen with and without contrast",
        "CT mit und ohne Kontrastmittel",
        "CT ohne und mit Kontrastmittel",
        "CT with or w/o contrast",
        "effusion with or without pneumothorax",
        "effusion or no effusion",
        "patient with or with no effusion",
        "Station No 7 lymph node",
        "No 7 lymph node",
        # exceptions
        "no abnormality except pleural effusion",
        "no abnormality, except pleural effusion",
        "no acute findings other than pleural effusion",
        "no acute findings apart from pleural effusion",
        "no abnormality with the exception of pleural effusion",
        "keine Auffälligkeiten außer Erguss",
        "keine Auffälligkeiten bis auf einen Erguss",
        "no pneumothorax, except a small one",
        "no abnormalities such as effusion",
        # it is not sure how far they reach
        "no pneumothorax, large effusion or nodule",
        "no pneumothorax, pleural or pericardial effusion",
        "no pneumothorax (or effusion)",
        "no effusion (left) or nodule",
        "no metastases in liver, spleen or bone",
        "no effusion or nodule, cyst or scar",
        "no pneumothorax, loculated effusion or mass",
        "no pneumothorax, moderate-sized effusion or mass",
        "Pneumothorax ausgeschlossen?",
        "no pneumothorax?",
        "CT without contrast and left effusion",
        "no definite absence of effusion",
        "effusion and pneumothorax are absent",
        "effusion, nodule or mass not seen",
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


@pytest.mark.parametrize(
    "text",
    [
        "no a, ",
        "no change, ",
        "not seen a ",
        "a and b not seen on ",
        "no a, b or small ",
        "no ",
        "absent ",
        ": ",
        '"no',
    ],
)
def test_the_work_grows_with_the_length(text):
    def of(words):
        return text * (words // len(text.split()))

    with at_most(calls=1_000_000) as short:
        understood(of(2_000))
    with at_most(calls=20 * short.calls):  # what grows with the square is 100-fold
        understood(of(20_000))
    # A regular expression that did would take minutes.
    understood(of(50_000))


def test_the_mark_at_the_beginning_of_a_file_of_queries_is_none_of_its_text(tmp_path):
    file = tmp_path / "queries.txt"
    file.write_bytes("\ufeffno pneumothorax\neffusion\n".encode())
    assert _lines(file) == ["no pneumothorax", "effusion"]
