"""The document that is checked in says what the application says, and says it whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Served

from medsiglip_search.service.app import described_api
from medsiglip_search.service.openapi import DOCUMENT, FURTHER, as_text

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads((ROOT / DOCUMENT).read_text("utf-8"))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "$ref":
                yield one
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_the_document_that_is_checked_in_is_that_of_the_application() -> None:
    told = as_text(described_api().openapi())
    assert told == (ROOT / DOCUMENT).read_text("utf-8"), "run `make openapi` and look at what has changed"


def test_a_service_tells_the_same_document(served: Served, document: dict[str, Any]) -> None:
    with served.client() as client:
        assert client.get("/openapi.json").json() == document


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_tag(document: dict[str, Any]) -> None:
    found = [operation for _, _, operation in operations(document)]
    ids = [operation["operationId"] for operation in found]
    assert len(ids) > 30
    assert len(set(ids)) == len(ids)
    assert all(one.isidentifier() for one in ids)
    assert set(FURTHER) <= set(ids)
    assert [one["operationId"] for one in found if not one["tags"] or len(one["summary"]) < 10] == []


def test_every_operation_needs_a_key_and_says_so_but_for_health(document: dict[str, Any]) -> None:
    [scheme] = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][scheme]["scheme"] == "bearer"
    assert document["security"] == [{scheme: []}]
    open_ = {path for _, path, operation in operations(document) if operation.get("security") == []}
    assert open_ == {"/healthz", "/readyz"}
    for _, path, operation in operations(document):
        needed = set() if path in open_ else {"401", "403", "429", "503"}
        needed |= {"404"} if "{" in path else set()
        needed |= {"413", "422"} if "requestBody" in operation else set()
        assert needed <= set(operation["responses"]), path


def test_problems_are_described_once_and_everything_that_is_named_is_there(document: dict[str, Any]) -> None:
    for one in references(document):
        found: Any = document
        for step in one.removeprefix("#/").split("/"):
            found = found[step]
    for _, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status == "default" or (status[0] in "45" and path != "/readyz"):
                assert answer == {"$ref": f"#/components/responses/{status}"}
    for answer in document["components"]["responses"].values():
        assert answer["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }
        assert answer["description"]
    assert "Retry-After" in document["components"]["responses"]["429"]["headers"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_a_problem_has_the_fields_that_the_document_lists(served: Served, document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Problem"]
    with served.client() as client:
        told = client.get("/v1/galleries/none").json()
    assert set(told) == set(schema["required"]) == set(schema["properties"])
    kinds = {"string": str, "integer": int}
    assert all(type(told[name]) is kinds[one["type"]] for name, one in schema["properties"].items())
