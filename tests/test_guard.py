"""The guard: results, limits, crashes, and that one file never costs another."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsiglip_search.errors import DecoderUnavailable, InvalidQuery, Reason, Unreadable
from medsiglip_search.images import open_image
from medsiglip_search.images.guard import Guard, Limits
from medsiglip_search.images.worker import TASKS_PER_WORKER


def process() -> Iterator[int]:
    yield os.getpid()


def counting(count: int) -> Iterator[int]:
    yield from range(count)


def returning(count: int) -> Generator[int, None, np.ndarray]:
    yield from range(count)
    return np.full(100_000, count)


def arrays(side: int) -> Iterator[dict[str, np.ndarray]]:
    yield {"large": np.arange(side * side, dtype=np.uint32).reshape(side, side), "small": np.arange(3)}
    yield {"large": np.full((side, side), 7, np.uint32), "small": np.arange(2)}


def hanging(seconds: float) -> Iterator[str]:
    yield "before"
    time.sleep(seconds)


def hanging_without_letting_go(seconds: int) -> Iterator[None]:
    # A call that keeps the interpreter's lock, as a decoder may.
    ctypes.PyDLL(None).sleep(seconds)
    yield None


def dying(by: int) -> Iterator[str]:
    yield "before"
    os.kill(os.getpid(), by)


def crashing() -> Iterator[None]:
    ctypes.string_at(0)
    yield None


def swelling(megabytes: int) -> Iterator[int]:
    yield np.ones(megabytes << 20, np.uint8).nbytes


def refusing() -> Iterator[None]:
    raise Unreadable(Reason.TRUNCATED, "It ends early.")
    yield None


def failing(error: type[BaseException]) -> Iterator[None]:
    raise error("John Doe")
    yield None


def talking() -> Iterator[str]:
    os.write(1, b"John Doe\n")
    os.write(2, b"thread panicked at John Doe\n")
    yield "said"


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(workers=1) as guard:
        yield guard


def pid(guard: Guard) -> int:
    return next(iter(guard.run(process)))


def test_pieces_come_in_order_from_one_process_that_is_used_again(guard: Guard) -> None:
    assert list(guard.run(counting, 3)) == [0, 1, 2]
    assert list(guard.run(counting, 0)) == []
    assert pid(guard) == pid(guard) != os.getpid()


def test_arrays_come_whole_and_may_be_written_to(guard: Guard) -> None:
    first, second = guard.run(arrays, 600)
    np.testing.assert_array_equal(first["large"], np.arange(360_000, dtype=np.uint32).reshape(600, 600))
    assert first["small"].tolist() == [0, 1, 2]
    first["large"][0, 0] = 9
    assert (second["large"] == 7).all()
    assert second["small"].tolist() == [0, 1]


def test_a_caller_may_stop_early_and_the_next_call_is_its_own(guard: Guard) -> None:
    before = pid(guard)
    stream = guard.run(counting, 100)
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert list(guard.run(counting, 2)) == [0, 1]
    assert pid(guard) == before


@pytest.mark.parametrize("task", [hanging, hanging_without_letting_go])
def test_what_takes_too_long_is_ended_and_only_that(task: Callable[[int], Iterator[object]]) -> None:
    with Guard(1, Limits(timeout_s=0.5)) as guard:
        before = pid(guard)
        with pytest.raises(Unreadable) as error:
            list(guard.run(task, 60))
        assert error.value.reason == Reason.DECODE_TIMEOUT
        assert "0.5 s" in str(error.value)
        assert "(--decode-timeout; for index together with --retry-rejected)" in str(error.value)
        assert pid(guard) != before
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)


def test_the_time_counts_for_each_piece() -> None:
    with Guard(1, Limits(timeout_s=1.0)) as guard:
        assert sum(1 for _ in guard.run(slowly, 4)) == 4


def slowly(count: int) -> Iterator[int]:
    for number in range(count):
        time.sleep(0.4)
        yield number


@pytest.mark.parametrize(
    ("task", "arguments", "reason"),
    [
        (crashing, (), Reason.MALFORMED),
        (dying, (signal.SIGABRT,), Reason.MALFORMED),
        (dying, (signal.SIGKILL,), Reason.UNREADABLE),  # as the system does when memory is short
    ],
)
def test_a_worker_that_dies_costs_its_file_and_is_replaced(
    guard: Guard, task: Callable[..., Iterator[object]], arguments: tuple[int, ...], reason: Reason
) -> None:
    with pytest.raises(Unreadable) as error:
        list(guard.run(task, *arguments))
    assert error.value.reason == reason
    assert list(guard.run(counting, 2)) == [0, 1]


def test_a_worker_that_died_between_two_files_costs_neither(guard: Guard) -> None:
    before = pid(guard)
    os.kill(before, signal.SIGKILL)
    while (
        Path(f"/proc/{before}/stat").exists() and "Z" not in Path(f"/proc/{before}/stat").read_text().split()
    ):
        time.sleep(0.01)
    assert list(guard.run(counting, 2)) == [0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory")
def test_what_takes_too_much_memory_is_too_large_and_its_worker_is_replaced() -> None:
    with Guard(1, Limits(memory_bytes=500 << 20)) as guard:
        before = pid(guard)
        assert list(guard.run(swelling, 200)) == [200 << 20]
        assert pid(guard) == before
        with pytest.raises(Unreadable) as error:
            list(guard.run(swelling, 600))
        assert error.value.reason == Reason.TOO_LARGE
        assert pid(guard) != before


def test_errors_of_the_task_come_as_they_are(guard: Guard) -> None:
    before = pid(guard)
    with pytest.raises(Unreadable, match=r"It ends early\.") as error:
        list(guard.run(refusing))
    assert error.value.reason == Reason.TRUNCATED
    assert pid(guard) == before


@pytest.mark.parametrize("error", [StopIteration, ValueError, RecursionError, SystemError, GeneratorExit])
def test_other_errors_are_malformed_and_keep_their_text_to_themselves(
    guard: Guard, error: type[BaseException]
) -> None:
    with pytest.raises(Unreadable) as raised:
        list(guard.run(failing, error))
    assert raised.value.reason == Reason.MALFORMED
    assert "John Doe" not in str(raised.value)
    assert list(guard.run(counting, 1)) == [0]


def test_what_decoders_print_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with Guard(1) as guard:
        assert list(guard.run(talking)) == ["said"]
    assert "".join(capfd.readouterr()) == ""


def test_workers_run_at_once_and_further_callers_wait() -> None:
    seen: list[int] = []
    with Guard(workers=2) as guard:
        threads = [threading.Thread(target=lambda: seen.extend(guard.run(staying))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == 4
    assert len(set(seen)) == 2


def staying() -> Iterator[int]:
    time.sleep(0.3)
    yield os.getpid()


def test_what_a_task_returns_is_its_last_piece(guard: Guard) -> None:
    for count in (0, 2):
        *pieces, last = guard.run(returning, count)
        assert pieces == list(range(count))
        assert last.tolist() == [count] * 100_000


def test_a_worker_is_replaced_after_many_tasks(guard: Guard) -> None:
    pids = {pid_ for _ in range(TASKS_PER_WORKER + 1) for pid_ in guard.run(process)}
    assert len(pids) == 2


def test_closing_ends_the_workers_and_the_next_call_starts_new_ones() -> None:
    guard = Guard(1)
    before = pid(guard)
    guard.close()
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    assert pid(guard) != before
    guard.close()


@pytest.mark.parametrize("busy", [False, True])
def test_workers_end_with_a_program_that_is_killed(busy: bool) -> None:
    task = "hanging_without_letting_go, 60" if busy else "process"
    program = (
        "import sys, time; sys.path[:0] = sys.argv[1:]; from test_guard import *\n"
        "guard = Guard(1, Limits(timeout_s=1)); print(pid(guard), flush=True)\n"
        f"list(guard.run({task})); time.sleep(60)"
    )
    folder = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", program, folder], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    ended = False
    for _ in range(100):
        state = Path(f"/proc/{worker}/stat")
        ended = not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"
        if ended:
            break
        time.sleep(0.1)
    assert ended


def test_it_works_in_a_program_without_a_main_guard(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(picture)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom medsiglip_search.images.guard import Guard\n"
        "print(Guard(1).read(sys.argv[1]).pixels.shape)\n"
    )
    run = subprocess.run([sys.executable, program, picture], capture_output=True, text=True, check=True)
    assert run.stdout == "(10, 10, 3)\n"
    assert run.stderr == ""


def test_a_file_reads_the_same_as_without_the_guard(guard: Guard, tmp_path: Path) -> None:
    pages = [
        Image.fromarray(np.full((40, 30), 10 * page, np.uint8) + np.eye(40, 30, dtype=np.uint8))
        for page in range(3)
    ]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    with open_image(tmp_path / "a.tiff") as file:
        plain = file.read(2)
    guarded = guard.read(tmp_path / "a.tiff", frame=2)
    np.testing.assert_array_equal(guarded.pixels, plain.pixels)
    assert (guarded.frame, guarded.frame_count, guarded.flags) == (2, 3, plain.flags)
    assert guard.read((tmp_path / "a.tiff").read_bytes()).frame == 1  # the middle one
    with pytest.raises(InvalidQuery, match="frame 3 of 3"):
        guard.read(tmp_path / "a.tiff", frame=3)


def test_where_no_worker_can_start_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(DecoderUnavailable, match="no process that decodes pictures can be started"):
        list(Guard(1).run(process))


def test_a_worker_that_dies_while_it_starts_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    again = tmp_path / "again"
    lines = ["#!/bin/sh", f'[ -e {again} ] && exec {sys.executable} "$@"', f"touch {again}", "kill -9 $$", ""]
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with Guard(1) as guard:
        assert list(guard.run(counting, 2)) == [0, 1]


def dying_once(trace: str, count: int) -> Iterator[int]:
    for number in range(count):
        if number == 2 and not Path(trace).exists():
            Path(trace).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield number


def test_a_file_whose_worker_was_killed_is_read_again_and_goes_on_where_it_was(
    guard: Guard, tmp_path: Path
) -> None:
    assert list(guard.run(dying_once, str(tmp_path / "died"), 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_it_works_in_a_program_with_closed_streams(tmp_path: Path, closed: str) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(picture)
    program = (
        "import sys; from medsiglip_search.images.guard import Guard\n"
        "open(sys.argv[2], 'w').write(str(Guard(1).read(sys.argv[1]).pixels.shape))"
    )
    command = f'"$@" {closed}'
    out = tmp_path / "out"
    subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-c", program, str(picture), str(out)], check=True
    )
    assert out.read_text() == "(10, 10, 3)"


def test_ctrl_c_reaches_the_program_and_not_its_workers(guard: Guard) -> None:
    assert os.getpgid(pid(guard)) != os.getpgid(0)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e10])
def test_a_time_limit_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidQuery, match="time limit"):
        Limits(timeout_s=seconds)


def test_a_source_that_is_none_is_the_callers_error(guard: Guard) -> None:
    with pytest.raises(TypeError, match="source is NoneType, must be a path or bytes"):
        guard.read(None)  # type: ignore[arg-type]


def test_bytes_beyond_what_a_worker_takes_are_too_large(guard: Guard) -> None:
    with pytest.raises(Unreadable) as error:
        guard.read(bytes((320 << 20) + 1))
    assert error.value.reason == Reason.TOO_LARGE


def test_paths_that_are_no_text_are_left_out_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, Path("x")])
    with Guard(1) as guard:
        assert list(guard.run(counting, 1)) == [0]


def growing(sides: list[int]) -> Iterator[np.ndarray]:
    for number, side in enumerate(sides):
        yield np.full((side, side), number, np.uint8)


def test_arrays_of_any_sizes_follow_one_another(guard: Guard) -> None:
    sides = [300, 5000, 10, 9000, 9000, 400, 0, 700]  # 81 MB is more than is kept between two
    pieces = list(guard.run(growing, sides))
    assert [piece.shape for piece in pieces] == [(side, side) for side in sides]
    assert all((piece == number).all() for number, piece in enumerate(pieces))


def babbling() -> Iterator[None]:
    # What a decoder may do that writes beyond its bounds: the answer is no answer.
    import gc

    from medsiglip_search.images.transport import SharingSender

    [sender] = [found for found in gc.get_objects() if isinstance(found, SharingSender)]
    sender._channel.sendall((8).to_bytes(8, "little") + b"nonsense")
    yield None


def test_an_answer_that_is_none_costs_its_file(guard: Guard) -> None:
    with pytest.raises(Unreadable) as error:
        list(guard.run(babbling))
    assert error.value.reason == Reason.MALFORMED
    assert list(guard.run(counting, 2)) == [0, 1]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_lost_workers_leave_no_open_files(guard: Guard) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    pid(guard)
    before = open_files()
    for _ in range(3):
        os.kill(pid(guard), signal.SIGKILL)
        with pytest.raises(Unreadable):
            list(guard.run(crashing))
    pid(guard)
    assert open_files() == before
