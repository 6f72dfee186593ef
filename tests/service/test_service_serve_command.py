"""The command serve, in a process of its own: what it says before it serves, and how it ends."""

import contextlib
import json
import os
import shlex
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from command_line import SCRIPT, Outcome, one_error

from medsiglip_search.cli import main
from medsiglip_search.gallery_folder import META
from medsiglip_search.service.access.keys import KeyStore

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MEDSIGLIP_")}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "a state"


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is nobody else's while a test runs."""
    with socket.socket() as holder:
        # Bound and not listening, it keeps others from the port, but not who asks for it by its number.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def serve(*arguments: str | Path) -> Outcome:
    """Run it to its end, which must come by itself."""
    command = [SCRIPT, "serve", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    return Outcome(run.returncode, run.stdout.splitlines(), run.stderr.splitlines())


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run it until the block ends."""
    command = [SCRIPT, "serve", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as child:
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str], count: int) -> list[str]:
    """Return the next so many lines that it says."""
    assert child.stderr is not None
    return [child.stderr.readline().rstrip("\n") for _ in range(count)]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_where_no_key_is_valid_it_says_how_one_is_made(
    demo_gallery: Path, state: Path, port: int, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    KeyStore(state).revoke(KeyStore(state).add("earlier", "admin", None, None)[0].id)
    arguments = ("--state", state, "--port", str(port), "--keys", "--host", host)
    with serving(f"own={demo_gallery}", *arguments) as child:
        serves, hint = said(child, 2)
    assert serves.startswith(f"Serving own at http://{host}:{port} ")
    assert hint.startswith("No key is valid")
    program, *command = shlex.split(hint.rpartition(": ")[2])
    assert program == "medsiglip-search"
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    principal = KeyStore(state).principal_of(capsys.readouterr().out.strip())
    assert (principal.name, principal.role) == ("NAME", "admin")


@pytest.mark.parametrize("option", [("--https",), ("--allow-host", "search.example.org")], ids=" ".join)
def test_behind_a_proxy_it_is_open_to_nobody(
    demo_gallery: Path, state: Path, port: int, option: tuple[str, ...]
) -> None:
    with serving(demo_gallery, "--state", state, "--port", str(port), *option) as child:
        assert said(child, 2)[1].startswith("No key is valid")


def test_a_new_state_folder_is_for_its_user_alone(demo_gallery: Path, state: Path, port: int) -> None:
    with serving(demo_gallery, "--state", state, "--port", str(port), "--no-pages") as child:
        assert json.loads(said(child, 3)[-1])["message"] == "begins"
        assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_with_a_key_it_serves_what_is_sound_and_ends_in_good_order(
    demo_gallery: Path, state: Path, port: int, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / META).write_text("damage")
    _, key = KeyStore(state).add("anna", "reader", None, None)
    galleries = (f"own={demo_gallery}", tmp_path / "bad")
    with serving(*galleries, "--state", state, "--port", str(port), "--keys", "--no-pages") as child:
        serves, begins = said(child, 2)
        assert serves.startswith("Serving own, bad at ")
        assert json.loads(begins)["message"] == "begins"  # and nothing was said of keys
        # It takes connections from the first line on, and answers when it can.
        bearer = {"Authorization": f"Bearer {key}"}
        answer = httpx.get(f"http://127.0.0.1:{port}/v1", headers=bearer, timeout=120)
        assert answer.json()["name"] == "anna"
        child.terminate()
        assert child.stderr is not None
        *_, last = child.stderr
        assert child.wait() == 0
    assert json.loads(last)["message"] == "ends"
    assert not (state / "cache").exists()


def test_galleries_of_one_name_are_refused(demo_gallery: Path, state: Path, tmp_path: Path) -> None:
    refused = serve(f"own={demo_gallery}", f"own={tmp_path / 'other'}", "--state", state)
    assert refused.code == 2
    assert "own: two galleries have this name" in one_error(refused)


def test_a_place_without_a_gallery_is_told_before_anything_is_loaded(
    demo_gallery: Path, state: Path, tmp_path: Path
) -> None:
    refused = serve(demo_gallery, f"other={tmp_path / 'none'}", "--state", state)
    assert refused.code == 2
    assert one_error(refused).startswith(f"{tmp_path / 'none'}: no gallery here. Make one with:")
    assert not state.exists()


def test_a_port_that_is_taken_is_one_line(demo_gallery: Path, state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = serve(demo_gallery, "--state", state, "--port", str(port))
    assert refused.code == 1
    assert one_error(refused).startswith(
        f"127.0.0.1, port {port}: cannot be listened to: address already in use"
    )
    assert not state.exists()


def test_an_address_of_another_machine_is_one_line(demo_gallery: Path, state: Path) -> None:
    refused = serve(demo_gallery, "--state", state, "--host", "192.0.2.1")
    assert refused.code == 1
    assert one_error(refused).startswith("192.0.2.1, port 7860: cannot be listened to: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("hosts = ", "is no TOML file"),
        ("color = 'red'", "color: Extra inputs are not permitted"),
        ("[limits]\ntop_k = 0", "limits.top_k: Input should be greater than or equal to 1"),
        ("[oidc]\nissuer = 'https://login.example.org'", "oidc.client_id: Field required"),
        ("[galleries]\n'a b' = 'gallery'", "no name that can stand in an address"),
    ],
    ids=["no TOML", "unknown setting", "out of its bounds", "incomplete", "no name"],
)
def test_settings_that_cannot_be_used_are_one_line(
    demo_gallery: Path, state: Path, tmp_path: Path, content: str, said: str
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(content)
    refused = serve(demo_gallery, "--state", state, "--config", settings)
    assert refused.code == 2
    assert said in one_error(refused)


def test_settings_that_are_not_there_are_one_line(demo_gallery: Path, state: Path, tmp_path: Path) -> None:
    refused = serve(demo_gallery, "--state", state, "--config", tmp_path / "none.toml")
    assert refused.code == 2
    assert "none.toml: cannot be read: No such file or directory" in one_error(refused)


def test_nothing_is_done_where_the_keys_cannot_be_read(demo_gallery: Path, state: Path, port: int) -> None:
    state.mkdir()
    (state / "keys.json").write_text("damage")
    refused = serve(demo_gallery, "--state", state, "--port", str(port), "--keys")
    assert refused.code == 1
    *_, last = refused.err
    assert last.startswith("error: ")
    assert "restore it from a backup" in last
