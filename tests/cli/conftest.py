"""A small archive and its gallery, and the commands run in this process, without a network."""

import os
import shutil
import socket
from pathlib import Path

import pydicom.data
import pytest
from checkpoints import make_checkpoint
from command_line import SCRIPT, Outcome, Run, gradient

from medsiglip_search.cli import main


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        assert self.family not in (socket.AF_INET, socket.AF_INET6), f"a connection to {address}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("MEDSIGLIP_ENCODER", "MEDSIGLIP_DEVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}")


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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for number in range(4):
        gradient(64 * number).save(folder / f"{number}.png")
    shutil.copy(pydicom.data.get_testdata_file("CT_small.dcm"), folder / "ct.dcm")
    (folder / "notes.txt").write_text("left effusion")
    return folder


@pytest.fixture(scope="session")
def table(archive: Path) -> Path:
    path = archive / "metadata.csv"
    path.write_text("path,report,age\n0.png,normal,61\n1.png,effusion,\n2.png,,7\n")
    return path


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, archive: Path, table: Path) -> Path:
    path = tmp_path_factory.mktemp("galleries") / "tiny"
    with pytest.raises(SystemExit, match="0"):
        main(["index", str(path), str(archive), "--encoder", str(checkpoint), "--metadata", str(table)])
    return path
