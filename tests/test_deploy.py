"""What is in deploy/ and docs/service.md fits the commands and settings that there are."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from command_line import SCRIPT
from pydantic import BaseModel

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.service.settings_file import SettingsFile, read_settings_file

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
EXAMPLE = DEPLOY / "settings.toml"
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@cache
def help_of(*command: str) -> str:
    return subprocess.run([SCRIPT, *command, "--help"], capture_output=True, text=True, check=True).stdout


def options_of(*command: str) -> set[str]:
    """Return the options that the help of a command lists."""
    return set(OPTION.findall(help_of(*command)))


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and default of each setting as the page writes them, those of a table after all others."""
    for name, field in model.model_fields.items():
        yield prefix + name, "required" if field.is_required() else _shown(field.default)
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields_of(kind, f"{prefix}{name}.")


def _shown(default: object) -> str:
    return "" if isinstance(default, BaseModel) else f"`{json.dumps(default)}`"


def settings_rows() -> list[tuple[str, str]]:
    """Return name and default of each row of the page's table of settings."""
    section = PAGE.split("\n## Settings\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([a-z_.]+)` \| (.*?) ?\| .+ \|$", section, re.MULTILINE)


def unit() -> dict[str, list[str]]:
    """Return the unit's settings, each with its values in their order."""
    found: dict[str, list[str]] = {}
    text = re.sub(r"^#.*\n", "", (DEPLOY / "medsiglip-search.service").read_text("utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        name, separator, value = line.partition("=")
        if separator:
            found.setdefault(name, []).append(value)
    return found


def dockerfile() -> list[list[str]]:
    """Return the Dockerfile's instructions, each as its word and the rest."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [line.split(maxsplit=1) for line in lines if line.strip()]


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def test_the_page_lists_every_setting_with_its_default() -> None:
    assert settings_rows() == list(fields_of(SettingsFile))


def test_the_example_settings_are_valid() -> None:
    read = read_settings_file(EXAMPLE)
    assert read.hosts == ["search.example.org"]
    assert read.galleries["radiology"] == Path("/srv/medsiglip/galleries/radiology")
    assert read.limits.settings().burst == 600
    assert read.oidc is None


def test_what_the_example_leaves_aside_is_valid_too(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=\[|[a-z_-]+ = )", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    (tmp_path / "settings.toml").write_text(text)
    (tmp_path / "client_secret").write_text("a secret\n")
    read = read_settings_file(tmp_path / "settings.toml")
    assert read.origins == ["https://search.example.org:8443"]
    assert read.oidc is not None
    oidc = read.oidc.settings()
    assert oidc.client_secret == "a secret"
    assert oidc.roles["medsiglip-admins"] == "admin"


def test_providers_of_logins_on_the_page_have_settings_that_are_valid(tmp_path: Path) -> None:
    assert len(EXAMPLES) == 2
    (tmp_path / "secret").write_text("secret")
    for number, example in enumerate(EXAMPLES):
        path = tmp_path / f"{number}.toml"
        path.write_text(example.replace("/etc/medsiglip-search/client_secret", "secret"))
        oidc = read_settings_file(path).oidc
        assert oidc is not None
        assert set(oidc.settings().roles.values()) == {"reader", "labeller", "admin"}


def test_a_secret_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(
        re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0].replace("/etc/medsiglip-search", ".")
    )
    oidc = read_settings_file(path).oidc
    assert oidc is not None
    with pytest.raises(InvalidQuery, match="client_secret_file cannot be read"):
        oidc.settings()


def test_commands_on_the_page_exist() -> None:
    commands = re.findall(r"^ +medsiglip-search (.+)$", PAGE, re.MULTILINE)
    assert len(commands) > 8
    for command in commands:
        words = shlex.split(command)
        name = words[:2] if words[0] in ("keys", "audit") else words[:1]
        assert {word for word in words if word.startswith("--")} <= options_of(*name), command


def test_options_that_the_page_tells_of_exist() -> None:
    known = options_of("serve") | options_of("keys", "add") | options_of("label")
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert named - {"--help"} <= known
    assert {"--https", "--allow-host", "--allow-origin", "--host", "--state"} <= named


def test_the_unit_starts_a_command_that_there_is() -> None:
    found = unit()
    [start] = found["ExecStart"]
    program, name, *options = shlex.split(start)
    assert Path(program).name == "medsiglip-search"
    assert {one for one in options if one.startswith("--")} <= options_of(name)
    assert "--keys" in options
    assert options[options.index("--state") + 1] == f"/var/lib/{found['StateDirectory'][0]}"
    assert found["NoNewPrivileges"] == ["true"]
    assert found["ProtectSystem"] == ["strict"]


def test_the_image_has_what_the_package_is_built_from() -> None:
    copied = [
        Path(one)
        for word, rest in dockerfile()
        if word == "COPY" and not rest.startswith("--from")
        for one in rest.split()[:-1]
    ]
    assert all((ROOT / path).exists() for path in copied)
    packages = re.search(r"^packages = (\[.*\])$", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert packages is not None
    assert {str(path) for path in copied} == {
        *yaml.safe_load(packages[1]),
        "README.md",
        "constraints.txt",
        "pyproject.toml",
    }
    let_in = {
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    assert let_in == {str(path) for path in copied}


def test_the_image_runs_a_command_that_there_is_and_not_as_root() -> None:
    told = dict(dockerfile())
    assert yaml.safe_load(told["ENTRYPOINT"]) == ["medsiglip-search"]
    name, *options = yaml.safe_load(told["CMD"])
    assert {one for one in options if one.startswith("--")} <= options_of(name)
    assert told["USER"] == "medsiglip"
    assert told["VOLUME"] == "/state"
    program = yaml.safe_load(told["HEALTHCHECK"].partition("CMD ")[2])
    compile(program[2], "HEALTHCHECK", "exec")
    for variable in re.findall(r"MEDSIGLIP_[A-Z]+(?==)", told["ENV"]):
        assert variable in help_of(name)


def test_the_compose_file_fits_the_image_and_the_example_settings() -> None:
    services = compose()["services"]
    search, proxy = services["search"], services["proxy"]
    assert (DEPLOY / search["build"]["context"] / search["build"]["dockerfile"]).exists()
    name, *options = search["command"]
    assert {one for one in options if one.startswith("--")} <= options_of(name)
    assert "--keys" in options
    mounted = dict(volume.split(":")[:2] for volume in search["volumes"])
    assert mounted["./settings.toml"] == options[options.index("--config") + 1]
    assert mounted["state"] == dict(dockerfile())["VOLUME"]
    assert set(compose()["volumes"]) == {"state"}
    for gallery in read_settings_file(EXAMPLE).galleries.values():
        assert gallery.is_relative_to(mounted["/srv/medsiglip/galleries"])
    assert proxy["network_mode"] == "service:search"
    for place in [*search["volumes"], *proxy["volumes"]]:
        if place.startswith("./"):
            assert (DEPLOY / place.split(":")[0]).exists()


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_proxies_know_the_port_and_the_host_and_take_what_the_service_takes(name: str) -> None:
    text = (DEPLOY / name).read_text("utf-8")
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) == {"7860"}
    assert read_settings_file(EXAMPLE).hosts[0] in text
    most = re.search(r"(?:client_max_body_size|max_size) (\d+)(?:m;|MiB\n)", text)
    assert most is not None
    assert int(most[1]) << 20 == read_settings_file(EXAMPLE).limits.body_bytes
