"""Search over HTTP."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, UploadFile
from pydantic import BaseModel, Field

from medsiglip_search.queries import Like, Study, Text
from medsiglip_search.service.asking import Asked, AskedImage
from medsiglip_search.service.operations import pictures, searching
from medsiglip_search.service.routes.requests import Body, TheCaller, TheService, remember_sent

router = APIRouter(prefix="/v1", tags=["search"], dependencies=[Depends(remember_sent)])

Weight = Annotated[float, Field(gt=0, le=100, description="How much it counts beside the other parts.")]
Value = str | int | float | bool | None


class ImagePart(Body):
    """A picture that was uploaded, or a region of it: x0, y0, x1, y1 in its pixels."""

    upload: str
    region: tuple[int, int, int, int] | None = None
    weight: Weight = 1.0


class TextPart(Body):
    text: str
    weight: Weight = 1.0


class LikePart(Body):
    like: int
    weight: Weight = 1.0


class StudyPart(Body):
    study: str
    weight: Weight = 1.0


class SearchRequest(Body):
    """What to look for: text, images, like, study with the weight 1, parts with weights of their own."""

    text: str | None = None
    images: list[ImagePart] = Field([], max_length=16)
    like: list[int] = Field([], max_length=64)
    study: str | None = None
    parts: list[TextPart | LikePart | StudyPart] = Field([], max_length=64)
    without: list[str] = Field([], max_length=16)
    unlike: list[int] = Field([], max_length=64, description="Images that hits are not to be like.")
    where: str | None = Field(
        None, max_length=20_000, description="SQL condition over the gallery's columns."
    )
    filters: dict[str, list[Value]] = Field({}, description="Values that columns must have.")
    group_by: Literal["image", "patient", "study", "series"] | None = None
    as_case: bool = False
    other_patients: bool | None = None
    min_relevance: float | None = None
    top_k: int = Field(20, ge=1)
    cursor: str | None = None

    def asked(self) -> Asked:
        """Return it as the operation takes it."""
        return Asked(
            text=self.text,
            images=tuple(AskedImage(one.upload, one.region, one.weight) for one in self.images),
            like=tuple(self.like),
            study=self.study,
            parts=tuple(map(_part, self.parts)),
            without=tuple(self.without),
            unlike=tuple(self.unlike),
            where=self.where,
            filters={column: tuple(values) for column, values in self.filters.items()},
            group_by=self.group_by,
            as_case=self.as_case,
            other_patients=self.other_patients,
            min_relevance=self.min_relevance,
            top_k=self.top_k,
            cursor=self.cursor,
        )


class SearchResponse(BaseModel):
    """The hits, best first, and what is said of them all.

    hits: as `search --json` prints them, with the addresses of their pictures. matches: whether the best of
    them stands out of the gallery. cursor: asks for the next page; null after the last. notes: how the query
    was understood.
    """

    hits: list[dict[str, Any]]
    matches: bool
    cursor: str | None
    notes: list[str]


class UploadResponse(BaseModel):
    """upload: what a search names it by, for some hours. The middle frame of several is asked about."""

    upload: str
    modality: str | None
    rows: int
    columns: int
    frame_count: int


@router.post("/galleries/{gallery}/searches")
def search(gallery: str, asked: SearchRequest, service: TheService, caller: TheCaller) -> SearchResponse:
    """Search a gallery."""
    found = searching.search(service, caller, gallery, asked.asked())
    result = found.result
    return SearchResponse(
        hits=found.hits, matches=result.matches, cursor=result.cursor, notes=list(result.notes)
    )


@router.post("/uploads", status_code=201)
def upload(file: Annotated[UploadFile, File()], service: TheService, caller: TheCaller) -> UploadResponse:
    """Send a picture (DICOM, PNG, JPEG, ...) to ask with. It stays in memory, for its sender alone."""
    token, kept = pictures.upload(service, caller, file.file.read())
    return UploadResponse(
        upload=token,
        modality=kept.modality,
        rows=kept.rows,
        columns=kept.columns,
        frame_count=kept.frame_count,
    )


def _part(part: TextPart | LikePart | StudyPart) -> Text | Like | Study:
    match part:
        case TextPart():
            return Text(part.text, part.weight)
        case LikePart():
            return Like(part.like, part.weight)
        case StudyPart():
            return Study(part.study, part.weight)
