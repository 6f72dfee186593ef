"""A hub of one checkpoint, and an encoder loaded from it by a fresh process."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GONE = "0" * 40
OPEN = ("org/open", "google/medsiglip-448")
GATED = "org/gated"


class Hub(ThreadingHTTPServer):
    """The part of the hub that a download needs, serving one checkpoint by several names."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.checkpoint = checkpoint
        self.fetched: list[str] = []
        self.commit = COMMIT

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        repository = next((name for name in (*OPEN, GATED) if name in self.path), None)
        if repository is None:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif self.asked_commit == GONE:
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif "/resolve/" not in self.path:
            files = [
                {
                    "type": "file",
                    "path": path.name,
                    "size": path.stat().st_size,
                    "oid": path.name.encode().hex(),
                }
                for path in self.server.checkpoint.iterdir()
            ]
            info = {"id": repository, "sha": self.asked_commit, "siblings": []}
            self.answer(200, json.dumps(files if "/tree/" in self.path else info).encode())
        elif repository == GATED:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        else:
            name = self.path.rsplit("/", 1)[1]
            content = (self.server.checkpoint / name).read_bytes()
            if self.command == "GET":
                self.server.fetched.append(name)
            self.answer(
                200, content, {"ETag": f'"{name.encode().hex()}"', "X-Repo-Commit": self.asked_commit}
            )

    @property
    def asked_commit(self) -> str:
        """The commit that is asked for by its name, or the newest."""
        return next((part for part in self.path.split("/") if len(part) == 40), self.server.commit)

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


def load_from(
    address: str, name: str, home: Path, *, offline: bool = False, revision: str | None = None
) -> list[str]:
    """Return what a fresh process prints: name and revision of the encoder, or the refusal."""
    program = (
        "import sys\n"
        "from medsiglip_search.encoders import load_encoder\n"
        "from medsiglip_search.errors import EncoderUnavailable\n"
        "try:\n"
        f"    encoder = load_encoder({name!r}, device='cpu', revision={revision!r})\n"
        "    print(encoder.name, encoder.revision, encoder.dim)\n"
        "except EncoderUnavailable as error:\n"
        "    print(error)\n"
        "    print('torch' in sys.modules)\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.splitlines()
