"""The page that is made once: what is kept, for whom, and for how long."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import gradio as gr
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tl_app.serving import rules
from tl_app.serving.guard import Guard
from tl_app.serving.kept_page import KeptPage

LONG = "word " * 1000


class Site:
    """An app that counts how often it makes its page, and says for which address."""

    def __init__(self, **answer: Any) -> None:
        self.made, self.version, self.answer = 0, object(), answer
        routes = [Route("/", self._page, methods=["GET", "POST"]), Route("/other", self._page)]
        self.app = KeptPage(Starlette(routes=routes), lambda: self.version)
        self.client = TestClient(self.app, base_url="http://here")

    async def _page(self, request: Request) -> Response:
        await asyncio.sleep(0.01)
        self.made += 1
        return PlainTextResponse(f"{request.url} {self.made} {LONG}", **self.answer)


def test_a_page_is_made_once():
    site = Site()
    first = site.client.get("/")
    assert [site.client.get("/").content for _ in range(3)] == [first.content] * 3
    assert site.made == 1
    assert first.text.startswith("http://here/ 1 ") and first.headers["content-type"].startswith("text/plain")


async def _many(app: Callable[..., Any], count: int) -> set[str]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        answers = await asyncio.gather(*(client.get("/") for _ in range(count)))
    return {answer.text for answer in answers}


def test_of_many_visitors_at_once_the_first_has_it_made():
    site = Site()
    assert len(asyncio.run(_many(site.app, 20))) == 1
    assert site.made == 1


def test_it_is_made_anew_when_the_app_has_another():
    site = Site()
    site.client.get("/")
    site.version = object()
    assert " 2 " in site.client.get("/").text
    assert site.client.get("/").text.startswith("http://here/ 2 ")


@pytest.mark.parametrize(
    "headers", [{"host": "there"}, {"x-forwarded-host": "there"}, {"x-forwarded-proto": "https"}]
)
def test_each_address_has_its_own(headers: dict[str, str]):
    site = Site()
    site.client.get("/")
    assert " 2 " in site.client.get("/", headers=headers).text
    assert " 1 " in site.client.get("/").text
    assert " 2 " in site.client.get("/", headers=headers).text


def test_no_more_than_some_addresses_are_kept():
    site = Site()
    for number in range(50):
        site.client.get("/", headers={"host": f"host{number}"})
    assert len(site.app._pages) == 8
    assert " 50 " in site.client.get("/", headers={"host": "host49"}).text
    assert " 51 " in site.client.get("/", headers={"host": "host0"}).text


@pytest.mark.parametrize("answer", [{"status_code": 500}, {"headers": {"set-cookie": "user=1"}}])
def test_what_is_not_for_everybody_is_not_kept(answer: dict[str, Any]):
    site = Site(**answer)
    assert [" 2 " in site.client.get("/").text for _ in range(2)] == [False, True]


@pytest.mark.parametrize(("method", "path"), [("GET", "/?query=1"), ("GET", "/other"), ("POST", "/")])
def test_all_else_is_passed_on(method: str, path: str):
    site = Site()
    site.client.get("/")
    texts = [site.client.request(method, path).text for _ in range(2)]
    assert " 2 " in texts[0] and " 3 " in texts[1]


def test_it_is_packed_for_whoever_unpacks_it():
    site = Site()
    with site.client.stream("GET", "/", headers={"accept-encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip" and len(raw) < 500
    assert LONG in gzip.decompress(raw).decode()
    plain = site.client.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and LONG in plain.text
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


def test_an_app_that_fails_is_asked_again():
    site = Site(status_code="no number")
    for _ in range(2):
        with pytest.raises(TypeError):
            site.client.get("/")
    assert site.made == 2


def test_every_visitor_gets_a_cookie_of_their_own():
    """The guard is in front, and what it adds to an answer is not kept with it."""
    site = Site()
    clients = [
        TestClient(Guard(site.app, rules.public(7860)), base_url="http://127.0.0.1:7860") for _ in "ab"
    ]
    cookies = [client.get("/").headers["set-cookie"] for client in clients]
    assert site.made == 1 and cookies[0] != cookies[1]
    assert "set-cookie" not in clients[0].get("/").headers


def test_gradios_page_is_what_gradio_itself_would_send():
    with gr.Blocks(analytics_enabled=False) as demo:
        gr.Textbox("hello")
    middleware = [Middleware(KeptPage, version=lambda: demo.config)]
    app, _, _ = demo.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"middleware": middleware})
    try:
        for headers in ({}, {"x-forwarded-host": "there", "x-forwarded-proto": "https"}):
            client = TestClient(app, base_url="http://here")
            anew = client.get("/?anything", headers=headers).text
            assert [client.get("/", headers=headers).text for _ in range(2)] == [anew, anew]
        before = client.get("/").text
        demo.config = {**demo.config, "title": "another"}
        assert "another" in client.get("/").text != before
    finally:
        demo.close()
