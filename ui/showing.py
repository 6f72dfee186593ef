"""A search, looked up and drawn: what the page under the box shows, as one piece of HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medsiglip_search.errors import CursorExpired, MedSiglipSearchError
from medsiglip_search.queries import GroupBy
from medsiglip_search.querying.relevance import MATCH
from medsiglip_search.service.asking import Asked, Link
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.facets import Facet
from medsiglip_search.service.operations import browsing, searching
from ui.problems import Told, told_problem
from ui.templates import html
from ui.wording import chips_of, note_words, title, told, words_of

FIRST_VALUES = 6
"""So many values of a column are shown at first."""

EXAMPLES = ("left pleural effusion", "fracture", "no pneumothorax")
"""What is suggested where a gallery itself tells nothing better."""

FINDINGS = "findings"
"""The column whose values are suggested to look for."""

MOST_EXAMPLES, LONGEST_EXAMPLE = 3, 60

FULL_RELEVANCE = 20.0
"""At which the bar of a hit is full."""

GROUPS: Mapping[GroupBy | None, str] = {"patient": "patient", "study": "study", "series": "series"}


@dataclass(frozen=True, slots=True)
class Tab:
    """What a tab of a browser shows.

    token: of its link, empty while there is none. cursor: of the next page.
    """

    link: Link
    token: str = ""
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """Hits, or images by filters alone. count: of these in all, where it is known."""

    hits: Sequence[Mapping[str, Any]]
    cursor: str | None
    matches: bool = True
    notes: Sequence[str] = ()
    count: int | None = None


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value that hits can be filtered by. cell: as the column has it."""

    words: str
    cell: Any
    count: int
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class FacetShown:
    """A column to filter by: its commonest values, and the others."""

    column: str
    words: str
    first: Sequence[FacetValue]
    more: Sequence[FacetValue] = field(default=())


def shown(service: Service, caller: Caller, tab: Tab, notice: str = "") -> tuple[Tab, str]:
    """Return the tab with the search looked up, and the page of it. notice: is told above.

    A problem that is known is told on the page.
    """
    try:
        facets = _facets(service, caller, tab.link)
        if not asks(tab.link.asked):
            examples = _examples(service, caller, tab.link.gallery)
            return replace(tab, token="", cursor=None), _page(tab, facets, notice, examples=examples)
        found = _found(service, caller, tab.link)
    except MedSiglipSearchError as error:
        problem = told_problem(error, caller.request_id)
        page = _page(tab, (), notice, problem=problem, is_expired=isinstance(error, CursorExpired))
        return replace(tab, token="", cursor=None), page
    token = tab.token or service.links.keep(caller.principal.owner, tab.link)
    tab = replace(tab, token=token, cursor=found.cursor)
    return tab, _page(tab, facets, notice, found=found)


def asks(asked: Asked) -> bool:
    """Return whether a question looks for something or chooses images by filters."""
    return asked.is_question or bool(asked.filters) or bool(asked.where and asked.where.strip())


def _found(service: Service, caller: Caller, link: Link) -> Shown:
    """Return the page of a link that is shown. Raises as `searching.search`."""
    cursor = link.cursors[-1] if link.cursors else None
    if link.asked.is_question:
        found = searching.search(service, caller, link.gallery, replace(link.asked, cursor=cursor))
        result = found.result
        return Shown(found.hits, result.cursor, result.matches, result.notes)
    start = int(cursor or 0)
    browsed = browsing.browse(service, caller, link.gallery, link.asked, start)
    end = start + len(browsed.rows)
    rows = [{"rank": start + number, **row} for number, row in enumerate(browsed.rows, start=1)]
    return Shown(rows, str(end) if end < browsed.count else None, count=browsed.count)


def _page(
    tab: Tab,
    facets: Sequence[FacetShown],
    notice: str,
    *,
    found: Shown | None = None,
    problem: Told | None = None,
    is_expired: bool = False,
    examples: Sequence[str] = (),
) -> str:
    link = tab.link
    return html(
        "results.html",
        address="" if problem else f"/?s={tab.token}" if tab.token else "/",
        gallery=link.gallery,
        token=tab.token,
        trail=link.trail,
        words=words_of(link.asked) if asks(link.asked) else "",
        chips=chips_of(link.asked),
        facets=facets,
        notice=notice,
        summary=_summary(link, found),
        found=found,
        is_browsing=not link.asked.is_question,
        group=GROUPS.get(link.asked.group_by, ""),
        problem=problem,
        is_expired=is_expired,  # only the page is gone, and the first one is there
        examples=examples,
        has_previous=bool(link.cursors),
        is_strong=lambda hit: hit["relevance"] >= MATCH,
        share=lambda hit: round(100 * min(max(hit["relevance"] / FULL_RELEVANCE, 0.0), 1.0)),
        match=f"{MATCH:g}",
        note_words=note_words,
        described=_described,
        file_name=lambda hit: str(hit.get("uri") or "").rsplit("/", 1)[-1],
    )


def _summary(link: Link, found: Shown | None) -> str:
    """Return what a screen reader says of a result."""
    if found is None:
        return ""
    if not found.hits:
        return "No hits" if link.asked.is_question else "No images pass these filters"
    first, last = found.hits[0]["rank"], found.hits[-1]["rank"]
    if found.count is not None:
        return f"{found.count:,} images, those added last first: {first} to {last}"
    return f"Hits {first} to {last}" + ("" if found.cursor else ", the last ones")


def _described(hit: Mapping[str, Any]) -> str:
    """Return what is known of an image in a few words."""
    cells = [hit.get(name) for name in ("modality", "body_part", "laterality", "view_position", "year")]
    return " · ".join(str(cell) for cell in cells if cell is not None)


def _facets(service: Service, caller: Caller, link: Link) -> list[FacetShown]:
    counted = searching.facets(service, caller, link.gallery, link.asked, alternatives=True)
    return [_facet(one, link.asked) for one in counted if any(value is not None for value, _ in one.values)]


def _facet(facet: Facet, asked: Asked) -> FacetShown:
    chosen = asked.filters.get(facet.column, ())
    values = [FacetValue(told(cell), cell, count, cell in chosen) for cell, count in facet.values]
    # What is chosen stays in sight, and what is not known is seldom looked for.
    values.sort(key=lambda one: (not one.is_chosen, one.cell is None))
    first, more = values[:FIRST_VALUES], values[FIRST_VALUES:]
    return FacetShown(facet.column, title(facet.column), first, more)


def _examples(service: Service, caller: Caller, gallery: str) -> Sequence[str]:
    """Return what can be looked for: what images of the gallery are said to show."""
    columns = service.gallery(caller, gallery).view.gallery.columns()
    if FINDINGS not in columns or FINDINGS in service.settings.hidden:
        return EXAMPLES
    [facet] = searching.facets(service, caller, gallery, Asked(), [FINDINGS])
    texts = [cell for cell, _ in facet.values if isinstance(cell, str) and 0 < len(cell) <= LONGEST_EXAMPLE]
    return texts[:MOST_EXAMPLES] or EXAMPLES
