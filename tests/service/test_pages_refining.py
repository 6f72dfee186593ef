"""What buttons change in a question, and how questions are told in a few words."""

import pytest

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.service.asking import Asked, AskedImage
from ui.refining import refined
from ui.wording import chips_of, words_of

ASKED = Asked(
    text="effusion",
    images=(AskedImage("token"),),
    like=(3,),
    unlike=(4,),
    without=("pacemaker",),
    filters={"modality": ("CR",)},
    group_by="patient",
    top_k=50,
)


def test_similar_images_are_looked_for_under_the_same_filters_and_options() -> None:
    assert refined(ASKED, {"do": "similar", "value": 7}) == Asked(
        like=(7,), filters={"modality": ("CR",)}, group_by="patient", top_k=50
    )


@pytest.mark.parametrize(("do", "like", "unlike"), [("more", (3, 4), ()), ("less", (3,), (4,))])
def test_an_image_is_liked_or_not_and_never_both(do: str, like: tuple[int], unlike: tuple[int]) -> None:
    now = refined(ASKED, {"do": do, "value": 4})
    assert (now.like, now.unlike) == (like, unlike)
    assert now.text == "effusion"


def test_values_of_a_column_are_alternatives_and_pressed_again_they_go() -> None:
    both = refined(ASKED, {"do": "filter", "column": "modality", "value": "CT"})
    assert both.filters == {"modality": ("CR", "CT")}
    one = refined(both, {"do": "filter", "column": "modality", "value": "CR"})
    assert one.filters == {"modality": ("CT",)}
    assert refined(one, {"do": "filter", "column": "modality", "value": "CT"}).filters == {}
    assert refined(ASKED, {"do": "filter", "column": "year", "value": None}).filters["year"] == (None,)


def test_each_chip_takes_away_what_it_names() -> None:
    now = ASKED
    for chip in chips_of(ASKED):
        now = refined(now, {"do": "remove", "column": chip.column, "value": chip.value})
    assert now == Asked(text="effusion", images=(AskedImage("token"),), top_k=50)
    assert refined(ASKED, {"do": "clear"}) == now


@pytest.mark.parametrize(
    "act", [{}, {"do": "drop"}, {"do": "similar", "value": "7"}, {"do": "more", "value": True}]
)
def test_what_no_button_says_is_refused(act: dict[str, object]) -> None:
    with pytest.raises(InvalidQuery, match="load it again"):
        refined(ASKED, act)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (ASKED, "effusion, a picture, like image 3, not like image 4, without pacemaker"),
        (Asked(like=(1, 2)), "similar to images 1, 2"),
        (Asked(like=(1, 2, 3, 4)), "similar to 4 images"),
        (Asked(text="left\n pleural " + "effusion " * 9), "left pleural effusion effusion effusion…"),
        (Asked(filters={"year": (2020,)}), "by filters"),
    ],
)
def test_questions_in_a_few_words(asked: Asked, words: str) -> None:
    assert words_of(asked) == words


def test_filters_are_told_in_one_chip_each() -> None:
    filters = {
        "image_id": tuple(range(1, 1133)),
        "view_position": ("PA", None),
        "year": (2018, 2019, 2020, 2021),
        "effusion": (True,),
    }
    assert [chip.words for chip in chips_of(Asked(filters=filters))] == [
        "1,132 chosen images",
        "view: PA or not known",
        "year: 4 values",
        "effusion: yes",
    ]
