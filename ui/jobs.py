"""The page of jobs: what runs and what has run, index and evaluation runs begun, and what was rejected."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medsiglip_search.labels.shipped import shipped_names
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.jobs import Job
from medsiglip_search.service.jobs.index_job import IndexRequest
from medsiglip_search.service.operations import holdings, working
from ui import frame, job_words
from ui.calls import caller_of, on
from ui.templates import html, script

JOBS_OF_PAGE = 20
REJECTED_OF_PAGE = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """What the list shows. cursors: of the pages gone through, the shown one last. page: as it is drawn."""

    cursors: tuple[str | None, ...] = (None,)
    page: str = ""


def build(service: Service) -> None:
    """Add the page."""
    frame.header(service)
    listed, start_of_rejected = gr.State(Listed()), gr.State(0)
    jobs = gr.HTML(
        html("jobs.html", jobs=None, has_newer=False, has_older=False, is_admin=False),
        js_on_load=script("job.js"),
        apply_default_css=False,
        elem_id="jobs",
    )
    timer = gr.Timer(1.0, active=False)
    with gr.Row(elem_classes="begin-jobs"):
        with gr.Column(visible=False, elem_id="index-run") as indexing:
            gr.HTML(html("jobs_title.html", title="Index archives"), apply_default_css=False)
            gallery = gr.Dropdown([], label="Into the gallery")
            archives = gr.CheckboxGroup([], label="Archives")
            retry = gr.Checkbox(label="Try rejected files again")
            prune = gr.Checkbox(label="Forget files that are gone from the archives")
            go = gr.Button("Index", variant="primary")
        with gr.Column(visible=False, elem_id="evaluation") as evaluating:
            evaluation = gr.HTML(
                html("jobs_evaluation.html", galleries=[], label_sets=[]),
                js_on_load=script("problem.js", "evaluation.js"),
                apply_default_css=False,
            )
    with gr.Accordion("Rejected files", open=False, visible=False) as rejections:
        with gr.Row():
            rejected_of = gr.Dropdown([], label="Gallery")
            reason = gr.Dropdown([("all", "")], value="", label="Reason")
        rejected = gr.HTML(js_on_load=script("job.js"), apply_default_css=False, elem_id="rejected")
    drawn = [listed, jobs, timer]

    def opened(request: gr.Request) -> list[Any]:
        """Show the jobs, and to each role what it may begin."""
        caller = caller_of(request)
        names = caller.seen(service.galleries)
        is_admin, first = caller.principal.may("admin"), next(iter(names), None)
        choices = gr.update(choices=names if is_admin else [], value=first if is_admin else None)
        known = sorted(service.settings.archives) if is_admin else []
        form = html("jobs_evaluation.html", galleries=names, label_sets=shipped_names())
        return [
            *_drawn(service, caller, Listed()),
            gr.update(visible=is_admin),
            gr.update(visible=caller.principal.may("labeller")),
            gr.update(visible=is_admin),
            choices,
            gr.update(choices=known, value=known if len(known) == 1 else []),
            form,
        ]

    def tick(listed: Listed, request: gr.Request) -> list[Any]:
        return _drawn(service, caller_of(request), listed)

    def act(listed: Listed, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Cancel a job, or go to other pages of the list."""
        caller, value = caller_of(request), event._data["value"]
        match value["do"]:
            case "cancel":
                working.cancel(service, caller, str(value["value"]))
            case "older":
                listed = Listed((*listed.cursors, str(value["value"])))
            case "newer":
                listed = Listed(listed.cursors[:-1] or (None,))
        return _drawn(service, caller, listed)

    def index(gallery: str, archives: list[str], prune: bool, retry: bool, request: gr.Request) -> list[Any]:
        caller = caller_of(request)
        working.start_index(service, caller, gallery, IndexRequest(tuple(archives), prune, retry))
        return _drawn(service, caller, Listed())

    def begun(request: gr.Request) -> list[Any]:
        return _drawn(service, caller_of(request), Listed())

    def show_rejected(gallery: str, reason: str, request: gr.Request) -> list[Any]:
        return [0, *_rejected(service, caller_of(request), gallery, reason, 0)]

    def expand(request: gr.Request) -> list[Any]:
        """Show those of the first gallery: what is inside is told nothing before it is open."""
        caller = caller_of(request)
        names = caller.seen(service.galleries)
        chosen = gr.update(choices=names, value=names[0])
        return [chosen, 0, *_rejected(service, caller, names[0], "", 0)]

    def change_gallery(gallery: str, request: gr.Request) -> list[Any]:
        return [0, *_rejected(service, caller_of(request), gallery, "", 0)]

    def turn(start: int, gallery: str, reason: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        step = REJECTED_OF_PAGE if event._data["value"]["do"] == "next" else -REJECTED_OF_PAGE
        start = max(0, start + step)
        return [start, *_rejected(service, caller_of(request), gallery, reason, start)]

    shown = [start_of_rejected, reason, rejected]
    on(
        None,
        opened,
        None,
        [*drawn, indexing, evaluating, rejections, gallery, archives, evaluation],
    )
    on(timer.tick, tick, listed, drawn)
    on(jobs.select, act, listed, drawn)
    on(go.click, index, [gallery, archives, prune, retry], drawn)
    on(evaluation.select, begun, None, drawn)
    on(rejected_of.input, change_gallery, rejected_of, shown)
    on(rejections.expand, expand, None, [rejected_of, *shown])
    on(reason.input, show_rejected, [rejected_of, reason], shown)
    on(rejected.select, turn, [start_of_rejected, rejected_of, reason], shown)


def _drawn(service: Service, caller: Caller, listed: Listed) -> list[Any]:
    """Return the values of what shows the list; it stays as it is where nothing has changed."""
    found = working.jobs(service, caller, listed.cursors[-1], JOBS_OF_PAGE)
    page = html(
        "jobs.html",
        jobs=[{**job_words.told(job), "outcome": _outcome(job)} for job in found.jobs],
        has_newer=len(listed.cursors) > 1,
        has_older=found.cursor or "",
        is_admin=caller.principal.may("admin"),
        may_label=caller.principal.may("labeller"),
    )
    goes_on = any(not job.has_ended for job in found.jobs)
    if page == listed.page:
        return [gr.skip(), gr.skip(), gr.Timer(active=goes_on)]
    return [Listed(listed.cursors, page), page, gr.Timer(active=goes_on)]


def _outcome(job: Job) -> list[tuple[str, str]]:
    """Return the main figures of what a job came to, a name and a word each."""
    summary = job.summary
    if job.kind == "index":
        counts = [
            (key, f"{summary[key]:,}") for key in ("embedded", "unchanged", "removed") if key in summary
        ]
        rejected = summary.get("rejected", {})
        total = sum(rejected.values()) if isinstance(rejected, dict) else rejected
        archives = ", ".join(summary.get("archives", ()))
        return [
            *([("archives", archives)] if archives else []),
            *counts,
            *([("rejected", f"{total:,}")] if counts else []),
        ]
    if job.kind == "label" and summary:
        return [(str(summary["of_what"]), f"{summary['count']:,}"), ("labels", str(len(summary["labels"])))]
    if job.kind == "evaluate" and summary:
        counts = [(key, f"{summary[key]:,}") for key in ("images", "patients", "queries") if summary[key]]
        return [*counts, *(pair for row in summary["figures"] for pair in _figures(row))]
    return []


def _figures(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of a row of `row_json`, with their intervals."""
    of = " ".join(str(one).replace("_", " ") for one in (row["labels"], row["what"]) if one)
    return [
        (f"{of}: {name.replace('_', ' ')}", _estimate(cell))
        for name, cell in row.items()
        if name != "difference" and isinstance(cell, dict) and cell["value"] is not None
    ]


def _estimate(estimate: dict[str, Any]) -> str:
    low, high = estimate["low"], estimate["high"]
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{estimate['value']:.3f}{interval}"


def _rejected(service: Service, caller: Caller, gallery: str, reason: str, start: int) -> list[Any]:
    """Return the reasons with their counts, and the page of files that begins at `start`."""
    counts: dict[str, int] = holdings.contents(service, caller, gallery)["rejected"]
    rows = holdings.rejected(service, caller, gallery, reason or None, start, REJECTED_OF_PAGE)
    total = sum(counts.values()) if not reason else counts.get(reason, 0)
    choices = [(f"all ({sum(counts.values()):,})", "")]
    choices += [(f"{one.replace('_', ' ')} ({count:,})", one) for one, count in sorted(counts.items())]
    page = html("rejected.html", rows=rows, start=start, total=total, size=REJECTED_OF_PAGE)
    return [gr.update(choices=choices, value=reason), page]
