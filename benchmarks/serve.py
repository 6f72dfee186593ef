"""How fast the service answers and draws, how much it can stand, and whether its memory stays flat.

python -m benchmarks.serve --folder FOLDER [--rows 100000] [--seconds 600] [--out serve.json]

A gallery of the demo encoder is made in FOLDER once. The service runs as users run it, in a process of its
own, and is asked over HTTP by clients in another; all share the machine's processors. Times are also told as
ratios to the same queries answered in the process itself, one after the other.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Figure, report, require_all
from benchmarks.processes import Sample, sampled
from benchmarks.serve_clients import texts
from benchmarks.serve_gallery import large_gallery
from benchmarks.timing import once
from medsiglip_search.search import Searcher

CLIENTS = 32
RATE = 50.0
SINGLE_S = 20.0
HITS = 50
CHROMIUM = "/usr/bin/chromium"

SETTINGS = """
[limits]
requests_per_minute = 1000000
burst = 100000
"""


@contextmanager
def service(gallery: Path) -> Iterator[tuple[int, int]]:
    """Yield the port and the process of a service of this gallery, when it can be asked."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = Path(folder) / "settings.toml"
        settings.write_text(SETTINGS)
        command = [sys.executable, "-c", "from medsiglip_search.cli import main; main()", "serve"]
        options = ["--state", f"{folder}/state", "--port", str(port), "--config", str(settings)]
        with open(Path(folder) / "log", "wb") as log:
            child = subprocess.Popen([*command, f"large={gallery}", *options], stderr=log)
        try:
            _wait(port)
            yield port, child.pid
        finally:
            child.terminate()
            child.wait()


def _wait(port: int) -> None:
    import httpx

    for _ in range(600):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit("the service did not start")


def clients(port: int, number: int, seconds: float, rate: float) -> dict[str, Any]:
    """Return what so many clients measured together."""
    arguments = ["127.0.0.1", port, "/v1/galleries/large/searches", number, seconds, rate]
    command = [sys.executable, "-m", "benchmarks.serve_clients", *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def in_process(gallery: Path) -> Iterator[Figure]:
    """Measure the same queries without a service, one after the other."""
    searcher = Searcher.open(gallery, device="cpu")
    searcher.search("warm", top_k=20)
    times = [once(lambda text=text: searcher.search(text, top_k=20))[0] for text in texts()]
    yield Figure("text query in the process itself, median", median(times) * 1e3, "ms")


def over_http(port: int, alone_ms: float) -> Iterator[Figure]:
    """Measure one client, and as many as can be."""
    clients(port, 1, 3, 0)
    one = clients(port, 1, SINGLE_S, 0)
    yield Figure(
        "text query over HTTP, one client, median", one["median_s"] * 1e3, "ms", below=100, details=one
    )
    yield Figure("over HTTP to in the process itself", one["median_s"] * 1e3 / alone_ms, "")
    most = clients(port, CLIENTS, SINGLE_S, 0)
    yield Figure(
        f"requests a second, {CLIENTS} clients without a pause", most["per_second"], "1/s", details=most
    )
    yield Figure("as many as one client asks", most["per_second"] / one["per_second"], "")
    yield Figure("errors", float(one["errors"] + most["errors"]), "", below=0)


def sustained(port: int, pid: int, seconds: float) -> Iterator[Figure]:
    """Measure a long time at the promised rate, and what it does to memory."""
    samples: list[Sample] = []
    with sampled(pid, samples):
        long = clients(port, CLIENTS, seconds, RATE)
    yield Figure(f"requests a second asked for by {CLIENTS} clients", RATE, "1/s")
    yield Figure("answered", long["per_second"], "1/s", at_least=0.99 * RATE, details=long)
    yield Figure("their median", long["median_s"] * 1e3, "ms", below=100)
    yield Figure("95 of 100 within", long["p95_s"] * 1e3, "ms")
    yield Figure("errors", float(long["errors"]), "", below=0)
    tenth = max(1, len(samples) // 10)
    begin = median(one.tree_bytes for one in samples[tenth : 2 * tenth])
    end = median(one.tree_bytes for one in samples[-tenth:])
    yield Figure("memory of the service at the end", end / 2**20, "MiB")
    yield Figure(f"grown in {seconds:.0f} s, of what it was", end / begin - 1, "", below=0.02)


def drawn(port: int) -> Iterator[Figure]:
    """Measure in a browser how long hits take to be drawn once their answer is there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        times = [_draw(page, port, text) for text in ("left pleural effusion", "melanoma", "glaucoma")]
        browser.close()
    yield Figure(f"{HITS} hits drawn after the answer, slowest of 3", max(times) * 1e3, "ms", below=1000)


def _draw(page: Any, port: int, text: str) -> float:
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_role("button", name="Options").click()
    page.wait_for_timeout(500)  # what is in them is set once more just after they are drawn
    page.get_by_label("Hits on a page").click()
    page.get_by_role("option", name=str(HITS)).click()
    box = page.get_by_label("Look for")
    box.fill(text)
    # The answer is there when the first card is; all are drawn when each picture is decoded.
    page.evaluate(_WATCH.replace("HITS", str(HITS)))
    box.press("Enter")
    return page.evaluate("window.drawn")


_WATCH = """
window.drawn = new Promise(done => {
  let began = 0;
  const look = () => {
    const pictures = [...document.querySelectorAll('img[src*="/thumbnail"]')];
    if (pictures.length && !began) {
      began = performance.now();
      pictures.forEach(one => { one.loading = 'eager'; });
    }
    if (pictures.length >= HITS && pictures.every(one => one.complete && one.naturalWidth))
      done((performance.now() - began) / 1000);
    else requestAnimationFrame(look);
  };
  look();
});
0
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    gallery = large_gallery(options.folder, options.rows)

    def sections() -> Iterator[list[Figure]]:
        [alone] = in_process(gallery)
        yield [alone]
        with service(gallery) as (port, pid):
            yield list(over_http(port, alone.value))
            yield list(drawn(port))
            yield list(sustained(port, pid, options.seconds))

    libraries = ("torch", "faiss-gpu", "gradio", "fastapi", "uvicorn")
    require_all(report(sections(), libraries, options.out))


if __name__ == "__main__":
    main()
