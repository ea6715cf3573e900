"""How a demo bears many visitors: ``python -m tests.benchmarks.demo_load RUN PHOTOS``.

Starts the demo of a run, as ``tl-app demo`` does, and visits it as browsers do: the page, an upload, a question, and
the stream that its answer comes on. One visitor, fifty that ask again as soon as they are answered, and five hundred.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import random
import secrets
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.benchmarks import machine
from tl_app.demo.child import Demo
from tl_app.demo.protocol import Settings

_POLITE = (429, 503)
_MB = 1e6


@dataclass
class Seen:
    """What a crowd of visitors saw.

    Attributes:
        seconds: Of each photo, from the first byte of its upload to its answer.
        refused: Sentences with which a photo was politely refused, and how often.
        errors: What should not have been, and how often.
        again: How often a visitor's page had to wait a moment and ask again.
    """

    seconds: list[float] = field(default_factory=list)
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    again: int = 0

    def percentile(self, share: float) -> float:
        """Seconds that this share of the answers took at most."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")


@dataclass(frozen=True)
class Crowd:
    """Visitors at once.

    Attributes:
        visitors: How many.
        photos: That each sends, one after the other.
        pause_seconds: Between an answer and the next photo.
    """

    visitors: int
    photos: int
    pause_seconds: float = 0.0


async def visit(address: str, crowd: Crowd, photos: list[bytes]) -> Seen:
    """What the visitors see who all come at the same moment."""
    seen, turns = Seen(), itertools.cycle(photos)
    await asyncio.gather(*(_one(address, crowd, turns, seen) for _ in range(crowd.visitors)))
    return seen


async def _one(address: str, crowd: Crowd, photos: Iterator[bytes], seen: Seen) -> None:
    limits = httpx.Limits(max_connections=4)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits, trust_env=False) as browser:
        try:
            page = await browser.get("/", headers={"accept": "text/html"})
            if _refused(page, seen):
                return
            config = (await browser.get("/config")).json()
            events = config["dependencies"]
            number = next(
                each["id"] for each in events if each["targets"] and each["targets"][0][1] == "select"
            )
            for turn in range(crowd.photos):
                start = time.perf_counter()
                if await _ask(browser, number, turn, next(photos), seen):
                    seen.seconds.append(time.perf_counter() - start)
                await asyncio.sleep(crowd.pause_seconds)
        except (httpx.HTTPError, ValueError, KeyError, StopIteration) as error:
            seen.errors[f"{type(error).__name__}: {error}"[:120]] += 1


async def _ask(browser: httpx.AsyncClient, number: int, turn: int, photo: bytes, seen: Seen) -> bool:
    """Sends a photo and waits for its answer; whether there was one."""
    session = secrets.token_hex(6)
    name = f"{secrets.token_hex(16)}.jpg"
    files = {"files": (name, photo, "image/jpeg")}
    sent = await _patiently(browser, "/gradio_api/upload", seen, files=files)
    if _refused(sent, seen):
        return False
    asked = {"turn": turn, "photo": sent.json()[0]}
    body = {"data": [], "fn_index": number, "session_hash": session, "event_data": asked}
    if _refused(await _patiently(browser, "/gradio_api/queue/join", seen, json=body), seen):
        return False
    async with browser.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        if stream.status_code != 200:
            await stream.aread()
            _refused(stream, seen)
            return False
        async for line in stream.aiter_lines():
            message = json.loads(line[5:]) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                answer = (message["output"].get("data") or [{}])[0]
                said = answer.get("value", answer) if isinstance(answer, dict) else {}
                if message["success"] and said.get("label"):
                    return True
                seen.errors[str(said.get("error") or message["output"])[:120]] += 1
                return False
    seen.errors["the stream ended without an answer"] += 1
    return False


async def _patiently(browser: httpx.AsyncClient, path: str, seen: Seen, **content: Any) -> httpx.Response:
    """Tries again where it is asked to, as the demo's page does."""
    for seconds in (1, 3, 6):
        answer = await browser.post(path, **content)
        if answer.status_code not in _POLITE:
            return answer
        seen.again += 1
        await asyncio.sleep(seconds * (0.5 + random.random()))
    return await browser.post(path, **content)


def _refused(answer: httpx.Response, seen: Seen) -> bool:
    if answer.status_code == 200:
        return False
    if answer.status_code in _POLITE and answer.text:
        try:
            text = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            text = answer.text
        seen.refused[f"{answer.status_code} {text[:90]}"] += 1
    else:
        seen.errors[f"{answer.status_code} at {answer.url.path}: {answer.text[:80]}"] += 1
    return True


async def measured(demo: Demo, crowd: Crowd, photos: list[bytes]) -> tuple[Seen, float, float]:
    """What a crowd saw; and the demo's memory before and at its largest, in bytes."""
    process = psutil.Process(demo.pid)
    before = largest = process.memory_info().rss
    task = asyncio.create_task(visit(demo.status.local.rstrip("/"), crowd, photos))
    while not task.done():
        largest = max(largest, process.memory_info().rss)
        await asyncio.wait([task], timeout=0.1)
    return await task, before, largest


def report(name: str, found: tuple[Seen, float, float]) -> None:
    """Prints a crowd's figures."""
    seen, before, largest = found
    half = statistics.median(seen.seconds) if seen.seconds else float("nan")
    print(
        f"{name}: {len(seen.seconds)} answers, p50 {half * 1e3:,.0f} ms, p95 {seen.percentile(0.95) * 1e3:,.0f} ms; "
        f"{seen.again} times later, {sum(seen.refused.values())} refused politely, {sum(seen.errors.values())} errors; "
        f"memory {before / _MB:,.0f} MB, at most +{(largest - before) / _MB:,.0f} MB; load {machine.load():.1f}"
    )
    for kind, counted in (("refused", seen.refused), ("error", seen.errors)):
        for text, times in counted.most_common(4):
            print(f"    {kind} {times}×: {text}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="A run's folder.")
    parser.add_argument("photos", help="A folder of JPEGs, also in folders below it.")
    parser.add_argument("--photos-each", type=int, default=10, help="Of each of the fifty visitors.")
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(Path(options.photos).rglob("*.jpg"))[:40]]
    demo = Demo(Settings(run=str(Path(options.run).resolve())))
    while demo.status.state == "starting":
        time.sleep(0.1)
    try:
        if demo.status.state != "ready":
            raise SystemExit(demo.status.note)
        asyncio.run(_all(demo, photos, options.photos_each))
    finally:
        demo.stop()


async def _all(demo: Demo, photos: list[bytes], each: int) -> None:
    await visit(demo.status.local.rstrip("/"), Crowd(1, 3), photos)  # a first photo sets things up
    crowds = {
        "1 visitor": Crowd(1, 25),
        f"50 visitors, {each} photos each": Crowd(50, each),
        "500 visitors, 2 photos each": Crowd(500, 2),
        "1 visitor afterwards": Crowd(1, 10),
    }
    for name, crowd in crowds.items():
        report(name, await measured(demo, crowd, photos))
        await asyncio.sleep(12)  # the buckets of the rates fill again


if __name__ == "__main__":
    main()
