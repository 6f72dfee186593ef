"""The page to label: a label set changed in place, run over images, its results, and a review."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from medsiglip_search.errors import NotFound
from medsiglip_search.records import Value
from medsiglip_search.service.asking import Asked
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.facets import Facet
from medsiglip_search.service.jobs import Job
from medsiglip_search.service.operations import labelling, searching, working
from medsiglip_search.service.operations.labelling import LabelRun
from ui import frame, job_words, reviewing
from ui.calls import caller_of, on
from ui.label_sets import named_text, state_of, table_of, yaml_of_table
from ui.templates import html, script
from ui.wording import title

FIRST_SET = "chexpert-13"
GROUPS = (("each image", ""), ("each series", "series"), ("each study", "study"), ("each patient", "patient"))
FEW_VALUES = 12
"""A column of more values is filtered by SQL."""

NEEDS_ROLE = "Labelling needs the role labeller, and yours is {}. Ask an administrator for it."

Filters = Mapping[str, Sequence[Value]]


def build(service: Service) -> None:
    """Add the page."""
    frame.header(service)
    first = named_text(FIRST_SET)
    chosen, job_id, queue = gr.State({}), gr.State(""), gr.State(None)
    on_page = gr.JSON(visible=False)
    refused = gr.HTML(visible=False, apply_default_css=False)
    with gr.Column(visible=False, elem_classes="labelling") as controls:
        with gr.Row():
            name = gr.Dropdown(
                [one.name for one in labelling.label_sets()],
                value=FIRST_SET,
                label="Begin with the label set",
            )
            gallery = gr.Dropdown([], label="Gallery", visible=False)
        with gr.Tab("Table"):
            table = gr.HTML(table_of(first), js_on_load=script("label_table.js"), apply_default_css=False)
        with gr.Tab("YAML"):
            yaml = gr.Textbox(
                first, label="Label set as YAML", lines=14, max_lines=30, elem_classes="code", elem_id="yaml"
            )
        state = gr.HTML(state_of(first), apply_default_css=False, elem_id="set-state")
        with gr.Accordion("Which images", open=False):
            facets = gr.HTML(js_on_load=script("label_filter.js"), apply_default_css=False)
            with gr.Row():
                where = gr.Textbox("", label="SQL condition", placeholder="year >= 2015", lines=1, scale=2)
                group_by = gr.Dropdown(list(GROUPS), value="", label="Label", scale=1)
        with gr.Row(elem_classes="run"):
            go = gr.Button("Label", variant="primary", scale=0, min_width=140)
            fitting = gr.HTML(apply_default_css=False, elem_id="fitting")
    progress = gr.HTML(js_on_load=script("job.js"), apply_default_css=False, elem_id="label-job")
    results = gr.HTML(apply_default_css=False, elem_id="label-results")
    review = gr.HTML(js_on_load=script("job.js"), apply_default_css=False, elem_id="label-review")
    timer = gr.Timer(1.0, active=False)
    drawn = [job_id, progress, timer, results, queue, review]
    images = [gallery, chosen, where]

    def opened(request: gr.Request) -> list[Any]:
        """Show the page to whoever may label, with the run that the address names, or the last one."""
        caller = caller_of(request)
        names = caller.seen(service.galleries)
        if not caller.principal.may("labeller"):
            told = html("label_state.html", problem=NEEDS_ROLE.format(caller.principal.role), label_set=None)
            blank: list[Any] = [gr.skip()] * (3 + len(drawn))
            return [gr.update(value=told, visible=True), gr.update(visible=False), *blank]
        job = _job_of(service, caller, request.query_params.get("job", ""))
        where_to = job.gallery if job is not None else next(iter(names), None)
        shown = [gr.skip()] * len(drawn) if job is None else _drawn(service, caller, job)
        return [
            gr.update(visible=False),
            gr.update(visible=True),
            gr.update(choices=names, value=where_to, visible=len(names) > 1),
            *_images(service, caller, where_to, {}, ""),
            *shown,
        ]

    def choose_set(name: str) -> list[str]:
        text = named_text(name)
        return [text, table_of(text), state_of(text)]

    def edit_table(event: gr.EventData) -> list[str]:
        text = yaml_of_table(event._data["value"])
        return [text, state_of(text)]

    def choose_gallery(gallery: str, request: gr.Request) -> list[Any]:
        return [{}, "", *_images(service, caller_of(request), gallery, {}, "")]

    def filter_by(gallery: str, where: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        filters = event._data["value"]
        return [filters, _count(service, caller_of(request), _run(filters, where), gallery)]

    def filter_in_sql(gallery: str, filters: Filters, where: str, request: gr.Request) -> str:
        return _count(service, caller_of(request), _run(filters, where), gallery)

    def start(
        yaml: str, group_by: Any, gallery: str, where: str, on_page: Mapping[str, Any], request: gr.Request
    ) -> list[Any]:
        caller = caller_of(request)
        text = yaml if on_page["table"] is None else yaml_of_table(on_page["table"])
        job = labelling.start(
            service, caller, gallery, _run(on_page["filters"], where, text, group_by or None)
        )
        return _drawn(service, caller, job)

    def tick(job_id: str, request: gr.Request) -> list[Any]:
        caller = caller_of(request)
        return _drawn(service, caller, working.job(service, caller, job_id))

    def act(job_id: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        caller = caller_of(request)
        return _drawn(service, caller, working.cancel(service, caller, job_id))

    def answer(queue: Any, event: gr.EventData, request: gr.Request) -> list[Any]:
        if queue is None:
            return [gr.skip(), gr.skip()]
        later = reviewing.answered(service, caller_of(request), queue, str(event._data["value"]["do"]))
        return [later, reviewing.shown(later)]

    on(None, opened, None, [refused, controls, gallery, facets, fitting, *drawn])
    on(name.input, choose_set, name, [yaml, table, state])
    # Gradio calls input what a key writes: neither what is pasted nor what is deleted.
    on(yaml.change, state_of, yaml, state, trigger_mode="always_last")
    on(yaml.blur, table_of, yaml, table, trigger_mode="always_last")
    on(table.select, edit_table, None, [yaml, state], trigger_mode="always_last")
    on(gallery.input, choose_gallery, gallery, [chosen, where, facets, fitting])
    on(facets.select, filter_by, [gallery, where], [chosen, fitting], trigger_mode="always_last")
    on([where.submit, where.blur], filter_in_sql, images, fitting)
    on(go.click, start, [yaml, group_by, gallery, where, on_page], drawn, js=script("label_run.js"))
    on(timer.tick, tick, job_id, drawn)
    on(progress.select, act, job_id, drawn)
    on(review.select, answer, queue, [queue, review])


def _run(filters: Filters, where: str | None, yaml: str | None = None, group_by: Any = None) -> LabelRun:
    chosen = {column: tuple(values) for column, values in filters.items()}
    return LabelRun(None, yaml, (where or "").strip() or None, chosen, group_by)


def _job_of(service: Service, caller: Caller, job_id: str) -> Job | None:
    """Return the label run of an id, or the caller's last one; None if there is none."""
    if job_id:
        try:
            job = working.job(service, caller, job_id)
        except NotFound:
            return None
        return job if job.kind == "label" else None
    for job in working.jobs(service, caller).jobs:
        if job.kind == "label" and job.owner == caller.principal.owner:
            return job
    return None


def _drawn(service: Service, caller: Caller, job: Job) -> list[Any]:
    """Return the values of what shows a run: its progress, and at its end results and what to review."""
    progress = job_words.progress(job)
    if job.state != "done":
        return [job.id, progress, gr.Timer(active=not job.has_ended), "", None, ""]
    results = labelling.results(service, caller, job.id)
    files = job_words.told(job)["files"]
    table = html("label_results.html", results=results, files=files)
    queue = reviewing.queue_of(service, caller, job.gallery, results)
    return [job.id, progress, gr.Timer(active=False), table, queue, reviewing.shown(queue)]


def _images(service: Service, caller: Caller, gallery: str | None, filters: Filters, where: str) -> list[str]:
    """Return by which values images can be chosen, and how many there are."""
    if gallery is None:
        return ["", ""]
    found = searching.facets(service, caller, gallery, Asked())
    return [
        html("label_filter.html", facets=[_facet(one) for one in found if 1 < len(one.values) <= FEW_VALUES]),
        _count(service, caller, _run(filters, where), gallery),
    ]


def _facet(facet: Facet) -> dict[str, Any]:
    values = [
        {
            "json": json.dumps(value),
            "word": "not known" if value is None else str(value),
            "images": images,
        }
        for value, images in facet.values
    ]
    return {"column": facet.column, "words": title(facet.column), "values": values}


def _count(service: Service, caller: Caller, run: LabelRun, gallery: str) -> str:
    found = labelling.count(service, caller, gallery, run)
    everything = not run.filters and run.where is None
    return html("label_count.html", images=found, everything=everything)
