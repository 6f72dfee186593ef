"""Clients that ask a service at the same time, in a process of their own; what they measured comes as JSON.

python -m benchmarks.serve_clients HOST PORT PATH CLIENTS SECONDS RATE

Each client keeps its connection. RATE: requests a second of all together; 0: each asks again as soon as it
has its answer.
"""

import asyncio
import json
import sys
import time
from itertools import count

from medsiglip_search.demo.findings import MODALITIES

SIDES = ("", "left ", "right ")


def texts() -> list[str]:
    """Return texts to ask for, each another one."""
    return [
        f"{opening}{side}{finding.name}"
        for modality in MODALITIES
        for finding in modality.findings
        for side in SIDES
        for opening in ("", "small ", "large ", "there is ")
    ]


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str, body: bytes
) -> tuple[int, int]:
    """Return the status and the size of an answer."""
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(answer.partition("content-length:")[2].split("\r\n")[0])
    await reader.readexactly(length)
    return int(answer.split(" ")[1]), length


async def client(place: tuple[str, int, str], numbers: "count[int]", rate: float, until: float) -> list:
    """Ask until the time is over; return (seconds, status) of each request."""
    host, port, path = place
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    asked = texts()
    reader, writer = await asyncio.open_connection(host, port)
    began, measured = time.perf_counter(), []
    while time.perf_counter() < until:
        number = next(numbers)
        due = began + number / rate if rate else 0.0
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        body = json.dumps({"text": asked[number % len(asked)], "top_k": 20}).encode()
        started = time.perf_counter()
        status, _ = await ask(reader, writer, head, body)
        measured.append((time.perf_counter() - started, status))
    writer.close()
    return measured


async def main(host: str, port: int, path: str, clients: int, seconds: float, rate: float) -> None:
    numbers, started = count(), time.perf_counter()
    everyone = [client((host, port, path), numbers, rate, started + seconds) for _ in range(clients)]
    measured = [one for part in await asyncio.gather(*everyone) for one in part]
    took = time.perf_counter() - started
    times = sorted(seconds for seconds, _ in measured)
    result = {
        "requests": len(measured),
        "errors": sum(status != 200 for _, status in measured),
        "per_second": len(measured) / took,
        "median_s": times[len(times) // 2],
        "p95_s": times[int(0.95 * len(times))],
        "longest_s": times[-1],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    place, port, path, clients, seconds, rate = sys.argv[1:]
    asyncio.run(main(place, int(port), path, int(clients), float(seconds), float(rate)))
