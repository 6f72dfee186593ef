"""What the API says of itself: its OpenAPI document, with its problems and with who may ask.

`python -m medsiglip_search.service.openapi FILE` writes it.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI

from medsiglip_search.service import problems
from medsiglip_search.service.paths import is_open

DOCUMENT = Path("docs/openapi.json")
"""Where it is kept, from the top of the checkout."""

FURTHER: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "search": (410,),
        "explain": (410,),
        "preview": (410,),
        "list_jobs": (410,),
        "delete_image": (409,),
        "start_label_run": (409,),
        "start_index_run": (409,),
        "start_evaluation": (409,),
    }
)
"""The statuses of problems that few operations have, by their ids."""

_SCHEME = "key"
_SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key; `medsiglip-search keys add` makes one.",
}
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "What is wrong and what to do next (RFC 9457). It repeats nothing of what was sent.",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "description": "For programs.",
            "examples": [f"{problems.TYPE_PREFIX}invalid-query"],
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people."},
        "request_id": {"type": "string", "description": "By which the log of the service knows the request."},
    },
}
_HEADERS: Mapping[int, dict[str, Any]] = MappingProxyType(
    {
        401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
        429: {"Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}}},
    }
)
_OTHER = "default"
# What FastAPI would answer to a request that does not fit; here that is a problem, too.
_UNUSED = ("HTTPValidationError", "ValidationError")


class DescribedApi(FastAPI):
    """An application whose document tells its problems, and who may ask."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        is_new = self.openapi_schema is None
        document = super().openapi()
        if is_new:
            _describe(document)
        return document


def as_text(document: Mapping[str, Any]) -> str:
    """Return a document as it is kept."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _describe(document: dict[str, Any]) -> None:
    components = document["components"]
    for name in _UNUSED:
        components["schemas"].pop(name, None)
    components["schemas"]["Problem"] = _PROBLEM
    components["securitySchemes"] = {_SCHEME: _SECURITY}
    document["security"] = [{_SCHEME: []}]
    used: set[int] = set()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _summarise(operation)
            if is_open(path):
                operation["security"] = []
            statuses = sorted(_problem_statuses(path, operation))
            used.update(statuses)
            for status in statuses:
                operation["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
            operation["responses"][_OTHER] = {"$ref": f"#/components/responses/{_OTHER}"}
    components["responses"] = {
        **{str(status): _response(_titles(status), status) for status in sorted(used)},
        _OTHER: _response("Any other problem", 0),
    }


def _summarise(operation: dict[str, Any]) -> None:
    """Take the first sentence of a description for the summary, and leave the others."""
    summary, *rest = re.split(r"\.(?:\s+|$)", operation["description"], maxsplit=1)
    operation["summary"] = " ".join(summary.split())
    operation["description"] = "".join(rest)
    if not operation["description"]:
        del operation["description"]


def _problem_statuses(path: str, operation: Mapping[str, Any]) -> Iterator[int]:
    if is_open(path):
        return
    yield from (401, 403, 429, 503)
    if "{" in path:
        yield 404
    if "requestBody" in operation:
        yield 413
    if "requestBody" in operation or "parameters" in operation:
        yield 422
    yield from FURTHER.get(operation["operationId"], ())


def _titles(status: int) -> str:
    titles = (problem.title for problem in problems.listed() if problem.status == status)
    return "; ".join(dict.fromkeys(titles))


def _response(description: str, status: int) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    return {"description": description, **headers, "content": content}


def main() -> None:
    """Write the document."""
    from medsiglip_search.service.app import described_api

    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENT
    path.write_text(as_text(described_api().openapi()), "utf-8")


if __name__ == "__main__":
    main()
