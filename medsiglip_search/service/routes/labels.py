"""Label sets, their runs over a gallery, and what people say of the labels."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from medsiglip_search.labels import LabelSet, Mode
from medsiglip_search.service.operations import deleting, labelling, reviewing
from medsiglip_search.service.operations.labelling import FORMAT_WORDS, LabelRun
from medsiglip_search.service.reviews import Answer, Decision, Review
from medsiglip_search.service.routes.jobs import JobJson, accepted
from medsiglip_search.service.routes.requests import Body, TheCaller, TheService, remember_sent

router = APIRouter(prefix="/v1", tags=["labels"], dependencies=[Depends(remember_sent)])

DIGEST = r"^[0-9a-f]{64}$"
CSV = "text/csv; charset=utf-8"
YAML = "application/yaml"

Digest = Annotated[str, Field(pattern=DIGEST)]
OneDigest = Annotated[str | None, Query(pattern=DIGEST, description="Of one label set alone.")]


class LabelSetJson(BaseModel):
    """labels: their names. digest: of what its scores depend on."""

    name: str
    mode: Mode
    labels: list[str]
    source: str
    notes: str
    digest: str


class LabelRunRequest(Body):
    """Either label_set, the name of one that comes along, or yaml, one of your own as text (256 kB).

    where: SQL condition over the gallery's columns; filters: values that columns must have. group_by: label
    these as a whole, in place of images.
    """

    label_set: str | None = Field(None, max_length=100)
    yaml: str | None = None
    where: str | None = Field(None, max_length=20_000)
    filters: dict[str, list[str | int | float | bool | None]] = Field({}, max_length=50)
    group_by: Literal["study", "series", "patient"] | None = None

    def run(self) -> LabelRun:
        """Return it as the operation takes it."""
        filters = {column: tuple(values) for column, values in self.filters.items()}
        return LabelRun(self.label_set, self.yaml, self.where, filters, self.group_by)


class ReviewRequest(Body):
    """Your word on a label. decision: what the label set had said. answer: null takes back the last one."""

    label_set: str = Field(max_length=100)
    label_set_digest: Digest
    label: str = Field(max_length=100)
    image_id: int = Field(ge=0, lt=1 << 63)
    decision: Decision
    answer: Answer | None


class DeletedJson(BaseModel):
    """images, rejected: gone from search at once; their bytes leave the disk with a later compact."""

    images: int
    rejected: int


def know_format(request: Request) -> None:
    """Let problems name the words of the format, though every label set has them."""
    state = request.scope["state"]
    state["known"] = (*state.get("known", ()), *FORMAT_WORDS)


@router.get("/label-sets")
def list_label_sets(caller: TheCaller) -> list[LabelSetJson]:
    """List the label sets that come along."""
    return [_label_set_json(one) for one in labelling.label_sets()]


@router.get("/label-sets/{name}", response_class=PlainTextResponse, responses={200: {"content": {YAML: {}}}})
def label_set_text(name: str, caller: TheCaller) -> Response:
    """Return a label set as it is written, to copy and change: YAML."""
    return Response(labelling.label_set_text(name), media_type=YAML)


@router.post("/galleries/{gallery}/label-runs", status_code=202, dependencies=[Depends(know_format)])
def start_label_run(
    gallery: str, asked: LabelRunRequest, service: TheService, caller: TheCaller, response: Response
) -> JobJson:
    """Label the images of a gallery. Needs the role labeller; the job has the labels as CSV and Parquet."""
    return accepted(labelling.start(service, caller, gallery, asked.run()), response)


@router.post("/galleries/{gallery}/reviews", status_code=201)
def add_review(gallery: str, asked: ReviewRequest, service: TheService, caller: TheCaller) -> Review:
    """Say whether a label of an image is right. Needs the role labeller; your last answer counts."""
    return reviewing.review(service, caller, gallery, **asked.model_dump())


@router.get(
    "/galleries/{gallery}/reviews",
    response_model=list[Review],
    responses={200: {"content": {"text/csv": {}}}},
)
def list_reviews(
    gallery: str,
    service: TheService,
    caller: TheCaller,
    format: Annotated[
        Literal["json", "csv", "truth"],
        Query(description="truth: the table that an evaluation takes; what people differ on is -1 in it."),
    ] = "json",
    label_set_digest: OneDigest = None,
) -> Any:
    """Return what people say of labels, the last answer of each. Needs the role labeller."""
    if format == "json":
        return reviewing.reviews(service, caller, gallery, label_set_digest)
    made = reviewing.truth_csv if format == "truth" else reviewing.reviews_csv
    return _download(made(service, caller, gallery, label_set_digest), f"{gallery}-{format}.csv")


@router.delete("/galleries/{gallery}/images/{image_id}", tags=["images"])
def delete_image(gallery: str, image_id: int, service: TheService, caller: TheCaller) -> DeletedJson:
    """Take an image out of a gallery. Needs the role admin.

    A file that is still in its archive comes back with the next index run.
    """
    deleted = deleting.delete_image(service, caller, gallery, image_id)
    return DeletedJson(images=deleted.images, rejected=deleted.rejected)


def _label_set_json(label_set: LabelSet) -> LabelSetJson:
    return LabelSetJson(
        name=label_set.name,
        mode=label_set.mode,
        labels=[label.name for label in label_set.labels],
        source=label_set.source,
        notes=label_set.notes,
        digest=label_set.digest,
    )


def _download(text: str, name: str) -> Response:
    return Response(text, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, CSV)
