"""What a search can be told beside its words: the closed part under the box."""

from dataclasses import dataclass, replace
from typing import Any, cast

import gradio as gr
from gradio.components import Component

from medsiglip_search.queries import GroupBy
from medsiglip_search.service.asking import Asked

PAGE_SIZES = (20, 50, 100)
GROUPS = [("image", ""), ("patient", "patient"), ("study", "study"), ("series", "series")]
PATIENTS = [("if asked about a stored image", ""), ("always", "yes"), ("never", "no")]


@dataclass(frozen=True, slots=True)
class Options:
    """The parts that a person can set, in the order in which events have their values."""

    components: tuple[Component, ...]

    def values_of(self, asked: Asked) -> tuple[Any, ...]:
        """Return what the parts show for a question."""
        patients = {None: "", True: "yes", False: "no"}[asked.other_patients]
        return (
            asked.group_by or "",
            str(asked.top_k),
            ", ".join(asked.without),
            patients,
            asked.min_relevance,
            asked.as_case,
            asked.where or "",
        )

    def asked(self, asked: Asked, values: tuple[Any, ...]) -> Asked:
        """Return a question with what the parts say."""
        # Parts that have not been drawn yet, in the closed part of the page, say nothing.
        group_by, top_k, without, patients, min_relevance, as_case, where = values
        return replace(
            asked,
            group_by=cast(GroupBy | None, group_by or None),
            top_k=int(top_k or PAGE_SIZES[0]),
            without=tuple(one.strip() for one in (without or "").split(",") if one.strip()),
            other_patients={"": None, "yes": True, "no": False}[patients or ""],
            min_relevance=min_relevance,
            # Without a picture there is no case to speak of.
            as_case=bool(as_case and asked.images),
            where=(where or "").strip() or None,
        )


def build() -> Options:
    """Add the parts to the page."""
    with gr.Row():
        group_by = gr.Dropdown(GROUPS, value="", label="One hit for each")
        top_k = gr.Dropdown([str(size) for size in PAGE_SIZES], value="20", label="Hits on a page")
        patients = gr.Dropdown(PATIENTS, value="", label="Other patients only")
        min_relevance = gr.Number(None, label="Relevance from")
    with gr.Row():
        without = gr.Textbox(label="Without", placeholder="pneumothorax, pacemaker", max_lines=1)
        where = gr.Textbox(label="SQL condition", placeholder="modality = 'CR' AND year >= 2020", max_lines=1)
        as_case = gr.Checkbox(label="The pictures are one case")
    return Options((group_by, top_k, without, patients, min_relevance, as_case, where))
