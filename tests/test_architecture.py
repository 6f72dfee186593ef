"""The arrows of the design: who may import whom, and where each heavy dependency lives."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("medsiglip_search", "indexer", "ui")
MAY_IMPORT = {
    "medsiglip_search": {"medsiglip_search"},
    "indexer": {"indexer", "medsiglip_search"},
    "ui": {"ui", "medsiglip_search"},
}
COMPOSITION_ROOT = "medsiglip_search/cli.py"

# A module, or a folder of modules that share the work.
HOMES = {
    "faiss": ["medsiglip_search/index/faiss"],
    "fsspec": ["indexer/sources/remote"],
    "authlib": ["medsiglip_search/service/access/oidc", "medsiglip_search/service/access/provider"],
    "httpx": [
        "medsiglip_search/client/calls",
        "medsiglip_search/explain/server/address",
        "medsiglip_search/explain/server/calls",
        "medsiglip_search/service/access/provider",
    ],
    "nncf": ["medsiglip_search/encoders/image_towers/openvino_library"],
    "openvino": ["medsiglip_search/encoders/image_towers/openvino_library"],
    "lance": ["medsiglip_search/gallery_table"],
    "open_clip": ["medsiglip_search/encoders/open_clip"],
    "transformers": [
        "medsiglip_search/demo",
        "medsiglip_search/encoders/siglip",
        "medsiglip_search/explain/gemma",
        "medsiglip_search/transformers_notices",
    ],
    "yaml": ["medsiglip_search/labels/reading"],
    # DICOM is read in one place; the synthetic archive is written in the other.
    "pydicom": ["medsiglip_search/demo/dicom", "medsiglip_search/images/dicom"],
}
SLOW_TO_IMPORT = (
    "torch",
    "transformers",
    "faiss",
    "lance",
    "pyarrow",
    "gradio",
    "open_clip",
    "openvino",
    "nncf",
    "pydicom",
    "imagecodecs",
    "httpx",
    "scipy",
    "sklearn",
    "matplotlib",
)


def modules() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    )


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """Yield the dotted names that a module imports, each with whether that happens outside functions."""
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    } | {
        id(node)
        for condition in ast.walk(tree)
        if isinstance(condition, ast.If) and ast.unparse(condition.test) == "TYPE_CHECKING"
        for node in ast.walk(condition)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in inside
        elif isinstance(node, ast.ImportFrom):
            parts = Path(module).with_suffix("").parts[: -node.level] if node.level else ()
            yield ".".join([*parts, *([node.module] if node.module else [])]), id(node) not in inside


def test_there_is_something_to_look_at() -> None:
    assert COMPOSITION_ROOT in modules()
    assert {module.split("/")[0] for module in modules()} == set(PACKAGES)


@pytest.mark.parametrize("module", modules())
def test_imports_follow_the_arrows(module: str) -> None:
    allowed = MAY_IMPORT[module.split("/")[0]]
    for name, at_top in imports(module):
        package = name.split(".")[0]
        if package in PACKAGES and package not in allowed:
            assert module == COMPOSITION_ROOT, f"{module} imports {name}"
            assert not at_top, f"{module} imports {name} outside a function"
        assert package not in ("tests", "benchmarks"), f"{module} imports {name}"


@pytest.mark.parametrize("library", sorted(HOMES))
def test_each_heavy_dependency_has_one_home(library: str) -> None:
    importing = [
        module for module in modules() if any(name.split(".")[0] == library for name, _ in imports(module))
    ]
    homes = {
        home for home in HOMES[library] for module in importing if module.startswith((f"{home}.", f"{home}/"))
    }
    assert homes == set(HOMES[library])
    assert [module for module in importing if not module.startswith(tuple(homes))] == []


@pytest.mark.parametrize("module", ["medsiglip_search", "medsiglip_search.cli"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert module in run.stdout.split()
    assert set(run.stdout.split()) & set(SLOW_TO_IMPORT) == set()


def test_the_client_needs_httpx_and_the_standard_library_alone() -> None:
    ours = {module for module in modules() if module.startswith("medsiglip_search/client/")}
    needed = {name for module in ours for name, _ in imports(module)}
    foreign = {name for name in needed if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"httpx", "medsiglip_search.client.calls", "medsiglip_search.client.values"}
    program = "import sys, medsiglip_search.client; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) & {*SLOW_TO_IMPORT, "numpy", "pydantic"} == {"httpx"}


def test_the_command_needs_no_configuration_to_be_found() -> None:
    scripts = Path(sys.executable).parent
    assert (scripts / "medsiglip-search").exists(), "the project is not installed: make test sets it up"
