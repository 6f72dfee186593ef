"""A model's answer to its parts, however it is written."""

import re

import pytest

from medsiglip_search.explain.parsing import MOST_FINDINGS, Named, Sentences, parse_description

WHOLE = (
    "Chest radiograph. Left effusion.\n"
    '{"modality": "chest radiograph", "findings": [{"finding": "Pleural effusion", "side": "left", '
    '"place": "lower"}], "normal": ["the heart"]}'
)
EFFUSION = (Named("pleural effusion", "left", "lower"),)


def test_the_form_that_is_asked_for():
    said = parse_description(WHOLE)
    assert said.parsed
    assert said.text == "Chest radiograph. Left effusion."
    assert (said.modality, said.findings, said.normal) == ("chest radiograph", EFFUSION, ("the heart",))
    assert str(said.findings[0]) == "left pleural effusion"


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE.replace("{", "```json\n{", 1) + "\n```",
        WHOLE.replace('"', "'"),
        WHOLE.replace("]}", "],}"),
        WHOLE.replace('"left"', '"Left-sided"'),
        WHOLE.replace('"Pleural effusion", "side": "left"', '"Left pleural effusion", "side": null'),
        WHOLE.replace('"finding":', '"name":').replace('"place":', '"location":'),
        WHOLE + "\nI hope this helps.",
        WHOLE[: WHOLE.index('"normal"')],
        '{"findings": []}\nOn reflection:\n' + WHOLE,
        WHOLE.replace('"findings"', '"meta": {"a": {"b": 1}}, "findings"'),
        WHOLE.replace(
            '"findings": [', '"findings": ["No pneumothorax", {"finding": "edema", "present": false}, '
        ),
    ],
)
def test_other_ways_of_writing_it(answer: str):
    said = parse_description(answer)
    assert said.parsed
    assert said.findings == EFFUSION
    assert "Left effusion." in said.text


def test_a_finding_that_was_cut_off_is_left_out_and_the_others_stay():
    cut = '{"findings": [{"finding": "edema", "side": "both"}, {"finding": "nod'
    assert parse_description(cut).findings == (Named("edema", "both"),)
    assert parse_description(f"Film. {cut}").text == "Film."


@pytest.mark.parametrize("value", ['"none"', "[]", '["normal"]', '[{"finding": "none"}]', "{}"])
def test_no_finding_in_several_ways(value: str):
    said = parse_description(f'Fine. {{"findings": {value}}}')
    assert (said.parsed, said.findings) == (True, ())


def test_findings_as_names_or_by_name():
    assert parse_description('{"findings": "edema; nodule"}').findings == (Named("edema"), Named("nodule"))
    assert parse_description('{"findings": {"edema": {"side": "right"}}}').findings == (
        Named("edema", "right"),
    )
    alone = parse_description('{"modality": "CT", "findings": ["bilateral edema"]}')
    assert alone.text == "CT: bilateral edema."


@pytest.mark.parametrize("answer", ["Just words.", "", '{"finding', '"findings"', "{[}", '{"findings": 7}'])
def test_what_cannot_be_parsed_is_kept_as_text(answer: str):
    said = parse_description(answer)
    assert (said.parsed, said.findings) == (False, ())
    if answer == "Just words.":
        assert said.text == answer


def test_a_hostile_answer_costs_little():
    for answer in ("{" * 200_000 + '"findings"', '{"findings": ' + "[" * 200_000, WHOLE * 2000):
        parse_description(answer)
    many = ", ".join(f'"finding {number}"' for number in range(500))
    assert len(parse_description(f'{{"findings": [{many}]}}').findings) == MOST_FINDINGS


def test_what_is_shown_of_an_unfinished_answer_has_no_json():
    for answer, pieces in ((WHOLE, 7), ("Film. ```json\n{}```", 1)):
        told: list[str] = []
        show = Sentences(told.append)
        for start in range(0, len(answer), pieces):
            show(answer[start : start + pieces])
        assert "".join(told) == re.split("[{`]", answer)[0].strip()


def test_a_description_within_the_json_is_the_text():
    said = parse_description('{"description": "Left effusion.", "findings": ["left effusion"]}')
    assert (said.text, said.findings) == ("Left effusion.", (Named("effusion", "left"),))
