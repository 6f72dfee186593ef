"""Label sets, those that come along and those that a caller writes, and the runs of both over a gallery."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pyarrow.parquet as pq

from medsiglip_search.errors import InvalidLabelSet, InvalidQuery, NotFound
from medsiglip_search.labelling import output
from medsiglip_search.labelling.studies import GroupBy
from medsiglip_search.labels import LabelSet, Mode
from medsiglip_search.labels.reading import parse_label_set
from medsiglip_search.labels.shipped import shipped_label_set, shipped_names, shipped_text
from medsiglip_search.records import Value
from medsiglip_search.service.asking import Asked
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.galleries import View
from medsiglip_search.service.jobs import Job
from medsiglip_search.service.jobs.label_job import PARQUET, SUMMARY, LabelWork
from medsiglip_search.service.operations import working
from medsiglip_search.service.operations.searching import condition_of

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""By these a spreadsheet program knows a formula in a table, as in a cell that begins with =HYPERLINK(."""

MOST_YAML_BYTES = 256 << 10
MOST_LABELS, MOST_PROMPTS = 500, 20_000
OWN_NAME = "own"
"""What a set that a caller writes is called unless it says so itself."""

FORMAT_WORDS = frozenset(
    re.findall(
        r"\w+",
        """label labels set line name mode source notes templates template absent present prompts prompt
        threshold findings exclusive abstain text texts mapping list names number probability add write
        leave out correct quote rename join change yaml not yes the has for and under one two more
        known twice there stands nothing written entry missing empty found expected allowed here many
        few""",
    )
)
"""Words that messages about label sets are made of: to read them there repeats nothing of a set."""


@dataclass(frozen=True, slots=True)
class LabelRun:
    """What is to be labelled, and with what: a shipped set by name, or one as YAML text, and not both.

    where, filters: see `Asked`. group_by: these as a whole, in place of images.
    """

    label_set: str | None = None
    yaml: str | None = None
    where: str | None = None
    filters: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    group_by: GroupBy | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What a label run came to.

    count: of `of_what`: images, studies, ... labels: as `Summary.rows` has them.
    uncertain: decisions that could as well have been others, see `Uncertain.rows`; empty for groups.
    """

    label_set: str
    label_set_digest: str
    mode: Mode
    count: int
    of_what: str
    labels: tuple[Mapping[str, Any], ...]
    uncertain: tuple[Mapping[str, Any], ...]


@cache
def label_sets() -> tuple[LabelSet, ...]:
    """Return the label sets that come along."""
    return tuple(shipped_label_set(name) for name in shipped_names())


def label_set_text(name: str) -> str:
    """Return the YAML of a label set that comes along. Raises NotFound."""
    if name not in shipped_names():
        raise NotFound("there is no label set of such a name; GET /v1/label-sets lists those that there are")
    return shipped_text(name)


def read_yaml(text: str) -> LabelSet:
    """Return the label set that a caller has written. Raises InvalidLabelSet, with the line.

    The error may quote the text: it is for whoever wrote that, and for nobody else.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_YAML_BYTES:
        raise InvalidLabelSet(
            f"the label set is larger than {MOST_YAML_BYTES >> 10} kB; split it into several"
        )
    label_set = parse_label_set(text, "the label set", OWN_NAME)
    if len(label_set.labels) > MOST_LABELS:
        raise InvalidLabelSet(f"the label set has more than {MOST_LABELS} labels; split it into several")
    if any(label.name.startswith(FORMULA) for label in label_set.labels):
        raise InvalidLabelSet(
            "the name of a label begins with = + - or @, as formulas in tables do; rename the label"
        )
    if sum(len(label.prompts) + len(label.absent) for label in label_set.labels) > MOST_PROMPTS:
        raise InvalidLabelSet(f"the label set has more than {MOST_PROMPTS} prompts; take some out")
    return label_set


def count(service: Service, caller: Caller, name: str, run: LabelRun) -> int:
    """Return how many images a run would be about. Raises InvalidQuery for a filter that cannot be read."""
    with service.audit.watch(caller, "facets", name) as entry:
        entry.details["query"] = service.digest_of(caller, _chosen(run))
        gallery = service.gallery(caller, name)
        return _count(gallery.view, condition_of(service, gallery, _chosen(run)))


def start(service: Service, caller: Caller, name: str, run: LabelRun) -> Job:
    """Start labelling, and return the job.

    Raises NotFound, Unavailable, Forbidden, InvalidLabelSet, InvalidQuery if no image fits, Conflict.
    """
    with service.audit.watch(caller, "label", name) as entry:
        gallery = service.gallery(caller, name)
        caller.require("labeller")
        label_set = _asked_set(run)
        view = gallery.view
        condition = condition_of(service, gallery, _chosen(run))
        images = _count(view, condition)
        if not images:
            raise InvalidQuery("no image fits the filter; change it or leave it out")
        work = LabelWork(
            name,
            view.gallery,
            view.searcher.encoder,
            label_set,
            condition,
            run.group_by,
            service.settings.hidden | {"archive"},  # a place on the server
        )
        entry.details.update(
            query=service.digest_of(caller, _chosen(run)),
            label_set_digest=label_set.digest[:16],
            images=images,
        )
        entry.asked()
        job = service.jobs.start("label", name, caller.principal.owner, work)
        entry.subjects = [job.id]
        return job


def results(service: Service, caller: Caller, job_id: str) -> Results:
    """Return what a label run came to. Raises NotFound for another job, and before it is done; Forbidden."""
    job = working.job(service, caller, job_id)
    with service.audit.watch(caller, "export", job.gallery) as entry:
        entry.subjects = [job.id]
        caller.require("labeller")
        summary = json.loads(service.jobs.file(job.id, SUMMARY).read_bytes())
        schema = pq.read_schema(service.jobs.file(job.id, PARQUET))
        about = json.loads(schema.metadata[output.KEY.encode()])
        entry.details["file"] = SUMMARY
        return Results(
            about["label_set"],
            about["label_set_digest"],
            about["mode"],
            summary["count"],
            summary["of_what"],
            tuple(summary["labels"]),
            () if about["group_by"] else tuple(summary["uncertain"]),
        )


def _asked_set(run: LabelRun) -> LabelSet:
    if (run.label_set is None) == (run.yaml is None):
        raise InvalidQuery("give either label_set, a name, or yaml, a text")
    if run.yaml is not None:
        return read_yaml(run.yaml)
    for label_set in label_sets():
        if label_set.name == run.label_set:
            return label_set
    raise NotFound("there is no label set of such a name; GET /v1/label-sets lists those that there are")


def _chosen(run: LabelRun) -> Asked:
    """Return which images a run is about, as a question."""
    return Asked(where=run.where, filters=run.filters)


def _count(view: View, condition: str | None) -> int:
    selected = view.selections.select(condition)
    return len(view.gallery) if selected is None else len(selected)
