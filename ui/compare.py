"""Compare: two to four images side by side, with one window, one zoom and one place for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations import pictures
from ui.calls import caller_of, on
from ui.frame import header
from ui.templates import html, script
from ui.viewer import (
    REPORT,
    Fact,
    Viewed,
    address,
    facts_of,
    gallery_of,
    image_ids,
    strip_image,
    told_calmly,
    viewed,
    viewers,
    way_back,
)

MOST = 4
MOST_OTHERS = 24
NOTHING = Fact("", "-")


@dataclass(frozen=True, slots=True)
class Row:
    """One fact of all the images. differs: whether they do not all say the same."""

    name: str
    facts: tuple[Fact, ...]
    differs: bool


def build(service: Service) -> None:
    """Add the page: `/compare?gallery=NAME&images=ID,ID`, with `s=TOKEN` where a search led there."""
    header(service)
    head = gr.HTML(apply_default_css=False)
    pictures_shown = gr.HTML(js_on_load=script("problem.js", "viewer.js"), apply_default_css=False)
    table = gr.HTML(apply_default_css=False)

    def show(request: gr.Request) -> tuple[str, str, str]:
        caller = caller_of(request)
        token = request.query_params.get("s", "")
        try:
            gallery = gallery_of(service, caller, request)
            shown = [viewed(service, caller, gallery, one) for one in _asked(request)]
            others: list[dict[str, Any]] = []
            if len(shown) == 1:
                others = pictures.study(service, caller, gallery, shown[0].image_id, MOST_OTHERS)
        except Exception as error:
            return told_calmly(error, request, token), "", ""
        return _head(gallery, shown, others, token), viewers(gallery, shown), _table(shown)

    on(None, show, None, [head, pictures_shown, table])


def rows_of(shown: Sequence[Viewed]) -> list[Row]:
    """Return what is known of the images, a row for each fact that one of them has."""
    told = [{fact.name: fact for fact in _facts(one)} for one in shown]
    rows = []
    for name in dict.fromkeys(name for facts in told for name in facts):
        cells = tuple(facts.get(name, NOTHING) for facts in told)
        rows.append(Row(name, cells, len({cell.whole or cell.text for cell in cells}) > 1))
    return rows


def _facts(one: Viewed) -> list[Fact]:
    report = one.row.get(REPORT)
    told = [fact for fact in facts_of(one.row) if fact.name != "Image"]  # that they differ is no news
    return [*told, Fact("Report", str(report))] if report else told


def _asked(request: gr.Request) -> tuple[int, ...]:
    named = [request.query_params.get(one, "") for one in ("images", "add")]
    ids = image_ids(",".join(filter(None, named)))
    if len(ids) > MOST:
        raise InvalidQuery(f"the address names {len(ids)} images; at most {MOST} go side by side")
    return ids


def _head(gallery: str, shown: Sequence[Viewed], others: Sequence[dict[str, Any]], token: str) -> str:
    ids = [one.image_id for one in shown]
    first = shown[0].image_id
    return html(
        "compare_head.html",
        title="Compare",
        gallery=gallery,
        ids=",".join(map(str, ids)),
        shown=[
            {
                "title": one.title,
                "image_id": one.image_id,
                "case": address("/case", gallery, token, image=one.image_id),
                "without": _without(gallery, ids, one.image_id, token),
            }
            for one in shown
        ],
        most=MOST,
        few=len(shown) < 2,
        others=[strip_image(gallery, first, row, token) for row in others],
        token=token,
        back=way_back(token),
        similar=address("/", gallery, like=first),
    )


def _without(gallery: str, ids: Sequence[int], removed: int, token: str) -> str:
    left = [str(one) for one in ids if one != removed]
    return address("/compare", gallery, token, images=",".join(left)) if left else way_back(token)


def _table(shown: Sequence[Viewed]) -> str:
    return html("compare_table.html", shown=shown, rows=rows_of(shown)) if len(shown) > 1 else ""
