import pytest

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.filters import MAX_TERMS, checked

COLUMNS = ("modality", "year", "Finding Labels")


def test_a_condition_goes_through_in_parentheses():
    assert checked("modality = 'CR' AND year >= 2020", COLUMNS) == "(modality = 'CR' AND year >= 2020)"


def test_a_column_in_double_quotes_is_a_column_and_not_a_text():
    assert checked("\"Finding Labels\" = 'Mass'", COLUMNS) == "(`Finding Labels` = 'Mass')"


def test_line_breaks_between_the_parts_are_spaces():
    assert checked("year > 2000\n  AND year < 2010 ", COLUMNS) == "(year > 2000 AND year < 2010)"


def test_text_may_hold_what_may_not_stand_outside():
    where = "modality = 'it''s; ? -- \"x\"'"
    assert checked(where, COLUMNS) == f"({where})"


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("year = 2020; DROP TABLE images", "';'"),
        ("year = ?", "'?'"),
        ("year = $1", "'$'"),
        ("year = :year", "':'"),
        ("modality = N'CR'", "space is missing"),
        ("year = 2020 -- all", "comments"),
        ("year /* all */ = 2020", "comments"),
        ('modality = "CR"', 'no column "CR"; text goes in single quotes'),
        ("modality = 'CR", '"\'" cannot stand'),
        ("modality = '\udcff'", "UTF-8"),
        ("1=1) OR (1=1", "a parenthesis is closed that is not open"),
        ("(year = 2020", "a parenthesis is not closed"),
        ("_rowid = 1", "no column _rowid"),
        ("`_ROWADDR` < 5", "no column `_ROWADDR`"),
        ("embedding IS NULL", "no column embedding"),
        ("year = 2020 AND Thumbnail IS NULL", "no column Thumbnail"),
        ("indexed_at > now()", "no column indexed_at"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_columns(where, problem):
    with pytest.raises(InvalidQuery) as refused:
        checked(where, COLUMNS)
    assert problem in str(refused.value)
    assert str(refused.value).endswith("Columns: modality, year, Finding Labels")


def test_parentheses_that_close_and_those_in_texts_go_through():
    where = "(year = 2020 OR (year IN (1, 2))) AND modality <> ')('"
    assert checked(where, COLUMNS) == f"({where})"


def test_a_chain_of_operators_ends_before_the_stack_does():
    with pytest.raises(InvalidQuery, match=f"more than {MAX_TERMS}"):
        checked("year = " + "+".join(["1"] * 1000), COLUMNS)


def test_a_long_list_of_values_is_not_a_chain():
    where = f"year IN ({', '.join(map(str, range(5000)))})"
    assert checked(where, COLUMNS) == f"({where})"
