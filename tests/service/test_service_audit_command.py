"""audit verify and audit show, as an administrator runs them."""

import json
from pathlib import Path

import pytest
from command_line import Outcome, Run, one_error

from medsiglip_search.cli import main
from medsiglip_search.service.audit import AuditLog, Event, records
from medsiglip_search.service.callers import Caller, Principal, anonymous_caller

MIA = Caller(Principal("mia", "labeller", credential="key 3f9a"), address="10.0.0.7", request_id="r-1")
TOM = Caller(Principal("tom\x1b[2J", "reader"), address="10.0.0.8", request_id="r-2")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Outcome(exit_.value.code, captured.out.splitlines(), captured.err.splitlines())

    return run_command


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a service's folder with five records, which the commands find by themselves."""
    folder = tmp_path / "state"
    log = AuditLog(folder)
    log.record(Event("login", anonymous_caller("10.0.0.66", "r-0"), outcome="refused"))
    log.record(Event("search", MIA, "chest", [str(number) for number in range(50)], {"hits": 50}))
    log.record(Event("picture", TOM, "chest", ["7"]))
    log.record(Event("export", MIA, "chest", ["p1", "p2"], {"rows": 2, "format": "csv"}, "failed"))
    log.record(Event("logout", MIA))
    monkeypatch.setenv("MEDSIGLIP_STATE", str(folder))
    return folder


def damage(state: Path, number: int) -> None:
    lines = (state / "audit.jsonl").read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b"chest", b"chess")
    (state / "audit.jsonl").write_bytes(b"".join(lines))


def times(state: Path) -> list[str]:
    return [record.time for record in records(state)]


def test_a_whole_audit_is_counted(run: Run, state: Path) -> None:
    all_times = times(state)
    assert run("audit", "verify") == Outcome(
        0, [f"5 records, all whole, {all_times[0]} to {all_times[-1]}"], []
    )
    outcome = run("audit", "verify", "--json")
    assert outcome.code == 0
    assert outcome.json == [
        {"records": 5, "first": all_times[0], "last": all_times[-1], "unfinished_bytes": 0, "problems": []}
    ]


def test_the_first_bad_record_is_named(run: Run, state: Path) -> None:
    all_times = times(state)
    damage(state, 3)
    damage(state, 4)
    whole = f"whole before it: 2 records, {all_times[0]} to {all_times[1]}"
    assert run("audit", "verify") == Outcome(1, ["record 3 was changed", whole], [])
    outcome = run("audit", "verify", "--json")
    assert (outcome.code, outcome.json[0]["records"]) == (1, 2)
    assert outcome.json[0]["problems"] == ["record 3 was changed"]


def test_what_a_killed_service_left_is_said_and_no_damage(run: Run, state: Path) -> None:
    with (state / "audit.jsonl").open("ab") as log:
        log.write(b'{"seq":6,"ti')
    outcome = run("audit", "verify")
    assert (outcome.code, outcome.out[1]) == (0, "12 bytes of one that was never finished")


def test_the_folder_can_be_named(run: Run, state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    AuditLog(other)
    assert run("audit", "verify", "--state", other) == Outcome(0, ["0 records, all whole"], [])


@pytest.mark.parametrize("command", ["verify", "show"])
def test_a_folder_without_an_audit_is_told(run: Run, tmp_path: Path, command: str) -> None:
    outcome = run("audit", command, "--state", tmp_path)
    assert (outcome.code, one_error(Outcome(1, [], outcome.err))) == (
        1,
        f"{tmp_path}: no audit here; give the service's folder with --state",
    )
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_by_default_where_state_belongs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDSIGLIP_STATE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value, folder in (
        (tmp_path / "xdg", tmp_path / "xdg" / "medsiglip-search"),
        ("relative", tmp_path / "home" / ".local" / "state" / "medsiglip-search"),
        ("", tmp_path / "home" / ".local" / "state" / "medsiglip-search"),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(value))
        AuditLog(folder)
        assert run("audit", "verify") == Outcome(0, ["0 records, all whole"], [])
        (folder / "audit.jsonl").unlink()
        (folder / "audit.head").unlink()


def test_records_are_shown_in_columns_oldest_first(run: Run, state: Path) -> None:
    outcome = run("audit", "show")
    assert (outcome.code, outcome.err) == (0, [])
    header, *rows = [line.split() for line in outcome.out]
    assert header == ["time", "who", "role", "from", "action", "gallery", "outcome", "subjects", "details"]
    assert [row[0] for row in rows] == times(state)
    assert [row[1:] for row in rows] == [
        ["nobody", "reader", "10.0.0.66", "login", "refused"],
        ["mia", "labeller", "10.0.0.7", "search", "chest", "done", *"01234", "and", "45", "more", "hits=50"],
        ["tom\\x1b[2J", "reader", "10.0.0.8", "picture", "chest", "done", "7"],
        ["mia", "labeller", "10.0.0.7", "export", "chest", "failed", "p1", "p2", "rows=2", "format=csv"],
        ["mia", "labeller", "10.0.0.7", "logout", "done"],
    ]


def shown(outcome: Outcome) -> list[int]:
    assert outcome.code == 0
    return [record["seq"] for record in outcome.json]


def test_what_is_shown_can_be_chosen(run: Run, state: Path) -> None:
    assert shown(run("audit", "show", "--json")) == [1, 2, 3, 4, 5]
    assert shown(run("audit", "show", "--json", "--who", "mia")) == [2, 4, 5]
    assert shown(run("audit", "show", "--json", "--action", "search")) == [2]
    assert shown(run("audit", "show", "--json", "--last", "2")) == [4, 5]
    assert shown(run("audit", "show", "--json", "--since", "2026-01-01")) == [1, 2, 3, 4, 5]
    assert shown(run("audit", "show", "--json", "--since", "9999-01-01T08:30")) == []
    assert run("audit", "show", "--who", "eve").out[1:] == []


def test_json_has_the_names_of_the_log(run: Run, state: Path) -> None:
    line = (state / "audit.jsonl").read_text().splitlines()[1]
    assert run("audit", "show", "--json").json[1] == json.loads(line)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--action", "serch", "--action: there is none of this name; try login, logout, refused, search,"),
        ("--since", "yesterday", "--since: no time; write it as 2026-03-01 or 2026-03-01T08:30"),
    ],
)
def test_a_choice_that_cannot_be_is_told(
    run: Run, state: Path, option: str, value: str, message: str
) -> None:
    outcome = run("audit", "show", option, value)
    assert outcome.code == 2
    assert one_error(outcome).startswith(message)


def test_a_line_that_is_no_record_hides_no_other(run: Run, state: Path) -> None:
    lines = (state / "audit.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = b"not a record\n"
    (state / "audit.jsonl").write_bytes(b"".join(lines))
    outcome = run("audit", "show", "--json")
    assert [json.loads(line)["seq"] for line in outcome.out] == [1, 2, 4, 5]
    assert outcome.code == 1
    assert outcome.err == [f"error: {state}: line 3 of the audit is no record; run audit verify"]
    assert len(run("audit", "show").out) == 1 + 4
