"""The queue of decisions that a person looks at, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations import reviewing
from medsiglip_search.service.operations.labelling import Results
from medsiglip_search.service.reviews import Answer
from ui.templates import html

SAID = {
    "present": "The labels say: present.",
    "absent": "The labels say: absent.",
    "abstain": "The labels abstain; this is the likeliest one.",
}
ANSWERS: Mapping[str, Answer] = {"agree": "agree", "disagree": "disagree", "unsure": "unsure"}


@dataclass(frozen=True, slots=True)
class Queue:
    """What is to be reviewed of one run, and what was. place: of the item that is shown.

    before: so many items the reviewer had answered earlier.
    """

    gallery: str
    results: Results
    items: tuple[Mapping[str, Any], ...]
    place: int = 0
    before: int = 0


def queue_of(service: Service, caller: Caller, gallery: str, results: Results) -> Queue:
    """Return the queue of a run: of each label the least certain first, label after label."""
    said = reviewing.reviews(service, caller, gallery, results.label_set_digest)
    own = {(one.label, one.image_id) for one in said if one.who == caller.principal.name}
    in_turn = _in_turn(results.uncertain)
    left = tuple(one for one in in_turn if (one["label"], one["image_id"]) not in own)
    return Queue(gallery, results, left, before=len(in_turn) - len(left))


def answered(service: Service, caller: Caller, queue: Queue, act: str) -> Queue:
    """Return the queue after an answer, or with the last one taken back. Raises as `reviewing.review`."""
    step = -1 if act == "undo" else 1 if act in ANSWERS else 0
    place = queue.place - 1 if step < 0 else queue.place
    if not step or not 0 <= place < len(queue.items):
        return queue
    item, results = queue.items[place], queue.results
    reviewing.review(
        service,
        caller,
        queue.gallery,
        label_set=results.label_set,
        label_set_digest=results.label_set_digest,
        label=item["label"],
        image_id=item["image_id"],
        decision=item["decision"],
        answer=ANSWERS.get(act),
    )
    return replace(queue, place=queue.place + step)


def shown(queue: Queue) -> str:
    """Return the item that is to be looked at, and how many there are."""
    item = queue.items[queue.place] if queue.place < len(queue.items) else None
    image = "" if item is None else f"/v1/galleries/{queue.gallery}/images/{item['image_id']}"
    address = {} if item is None else {"gallery": queue.gallery, "image": item["image_id"]}
    digest = urlencode({"label_set_digest": queue.results.label_set_digest})
    return html(
        "label_review.html",
        gallery=queue.gallery,
        of_groups=queue.results.of_what != "images",
        item=item,
        said="" if item is None else SAID[item["decision"]],
        picture=f"{image}/picture",
        thumbnail=f"{image}/thumbnail",
        case=f"/case?{urlencode(address)}",
        reviews=f"/v1/galleries/{queue.gallery}/reviews?{digest}",
        done=queue.before + queue.place,
        left=len(queue.items) - queue.place,
        can_undo=queue.place > 0,
    )


def _in_turn(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows that come label by label so that the first of each label come first, then the second."""
    place: dict[str, int] = {}
    ranked = []
    for row in rows:
        place[row["label"]] = place.get(row["label"], 0) + 1
        ranked.append((place[row["label"]], row))
    return [row for _, row in sorted(ranked, key=lambda one: one[0])]
