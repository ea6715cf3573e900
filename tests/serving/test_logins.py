"""Passwords, tries and sessions; guessing them over HTTP."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tl_app.errors import UsageError
from tl_app.serving import logins, rules
from tl_app.serving.buckets import Buckets
from tl_app.serving.guard import Guard
from tl_app.serving.logins import Logins, hashed, parsed, verified
from tl_app.serving.rules import Rate, Rules

PORT = 7860


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _client(held: Rules | None = None) -> TestClient:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("inside")

    held = held or rules.lan(PORT, logins=parsed(["anna:se:cret", "ben:other"]))
    app = Starlette(routes=[Route("/{path:path}", page, methods=["GET", "POST"])])
    return TestClient(Guard(app, held), base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)


def test_a_password_is_kept_as_a_salted_hash() -> None:
    one, two = hashed("secret"), hashed("secret")
    assert one != two and "secret" not in one
    assert verified("secret", one) and verified("secret", two)
    for wrong in ("", "Secret", "secret ", "secre", "\ud800"):
        assert not verified(wrong, one)


@pytest.mark.parametrize("text", ["anna", "anna:", ":secret", " :secret", ""])
def test_half_a_login_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(UsageError, match="USER:PASSWORD") as refused:
        parsed([text])
    assert "secret" not in str(refused.value)


def test_a_user_is_named_once() -> None:
    with pytest.raises(UsageError, match="'anna' is there twice"):
        parsed(["anna:one", "anna:two"])
    assert verified("a:b", dict(parsed(["anna:a:b"]))["anna"])


def test_the_sixth_try_waits_even_with_the_right_password() -> None:
    clock = Clock()
    state = Logins(parsed(["anna:secret", "ben:other"]), clock)
    for _ in range(5):
        assert state.log_in("anna", "wrong") == ("", 0.0)
        clock.now += 1
    session, wait = state.log_in("anna", "secret")
    assert session == "" and 50 < wait <= 60
    assert state.log_in("ben", "other")[0], "other users do not notice"
    clock.now += wait
    session, _ = state.log_in("anna", "secret")
    assert state.user_of(session) == "anna"


def test_a_user_who_is_not_there_is_like_one_who_is() -> None:
    state = Logins(parsed(["anna:secret"]), Clock())
    answers = [[state.log_in(user, "wrong") for _ in range(6)] for user in ("anna", "nobody")]
    assert answers[0] == answers[1] and answers[0][5][1] > 0


def test_many_tries_at_once_are_no_way_around() -> None:
    state = Logins(parsed(["anna:secret"]))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: state.log_in("anna", "wrong"), range(40)))
    assert sum(wait == 0 for _, wait in answers) == logins.TRIES


def test_many_names_are_no_way_around_either() -> None:
    clock = Clock()
    state = Logins(parsed(["anna:secret"]), clock)
    answers = [state.log_in(f"user {number}", "wrong")[1] for number in range(200)]
    assert sum(wait == 0 for wait in answers) == 60
    clock.now += 61
    assert state.log_in("anna", "secret")[0]
    assert len(state._tries) <= 1, "nothing is kept of names that were tried"


def test_a_known_browser_is_not_locked_out_by_those_who_guess() -> None:
    clock = Clock()
    state = Logins(parsed(["anna:secret", "ben:other"]), clock)
    device = state.device_of("anna")
    for number in range(200):  # all that unknown browsers have
        state.log_in("anna" if number < 50 else f"user {number}", "wrong")
    assert state.log_in("anna", "secret")[1] > 0
    assert state.user_of(state.log_in("anna", "secret", device)[0]) == "anna"
    assert state.device_of("anna", device) == device, "it stays the browser it was"
    browser, _, sign = device.partition(".")
    for forged in ("", ".", f"other.{sign}", f"{browser}.{sign[:-1]}", f".{sign}", "\udc80.x", device + "0"):
        assert state.log_in("anna", "secret", forged)[1] > 0, forged
    assert state.log_in("ben", "other", device)[1] > 0, "it is known for its own user alone"
    assert [state.log_in("anna", "wrong", device)[1] == 0 for _ in range(7)] == [True] * 5 + [False] * 2
    clock.now += 61
    assert state.log_in("anna", "secret")[0]


def test_sessions_end_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    state = Logins(parsed(["anna:secret"]), clock)
    session, _ = state.log_in("anna", "secret")
    assert len(session) >= 43 and state.user_of(session) == "anna"
    assert state.user_of("") == "" and state.user_of(session[:-1]) == ""
    assert session not in repr(vars(state))
    clock.now += 12 * 3600
    assert state.user_of(session) == ""
    monkeypatch.setattr(logins, "_SESSIONS", 3)
    sessions = [state.log_in("anna", "secret")[0] for _ in range(4)]
    assert [state.user_of(each) for each in sessions] == ["", "anna", "anna", "anna"]


def test_a_try_costs_the_same_whether_the_user_is_there_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_COST", 2**15)
    state = Logins(parsed(["anna:secret"]))

    def seconds(user: str) -> float:
        start = time.perf_counter()
        state.log_in(user, "wrong")
        return time.perf_counter() - start

    spent = {user: statistics.median(seconds(user) for _ in range(2)) for user in ("anna", "nobody")}
    assert min(spent.values()) > 0.02, "a hash that is cheap to compute is cheap to guess"


def test_a_page_to_log_in_and_what_comes_of_it() -> None:
    client = _client()
    page = client.get("/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "./login")
    form = client.get("/login")
    assert 'type="password"' in form.text and "no-store" in form.headers["cache-control"]
    assert client.get("/config").status_code == 401
    assert client.post("/gradio_api/queue/join").status_code == 401
    wrong = client.post("/login", data={"user": "anna", "password": "<b>"})
    assert wrong.status_code == 401 and "User or password is wrong" in wrong.text and "<b>" not in wrong.text
    right = client.post("/login", data={"user": " anna ", "password": "se:cret"})
    assert (right.status_code, right.headers["location"]) == (303, "./")
    cookie, known = right.headers.get_list("set-cookie")
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Max-Age" not in cookie
    assert known.startswith(f"tl-app-{PORT}-known=") and "HttpOnly" in known and "anna" not in known
    assert "Secure" not in cookie + known, "a page without https would lose them"
    assert client.get("/").text == "inside"


def test_cookies_of_a_page_behind_https_stay_there() -> None:
    for held, method, path in (
        (rules.lan(PORT, logins=parsed(["anna:secret"])), "POST", "/login"),
        (rules.local(PORT, token="right"), "GET", "/?token=right"),
        (rules.public(PORT), "GET", "/"),
    ):
        sent = {"data": {"user": "anna", "password": "secret"}} if method == "POST" else {}
        answer = _client(held).request(method, path, headers={"x-forwarded-proto": "https"}, **sent)  # type: ignore[arg-type]
        cookies = answer.headers.get_list("set-cookie")
        assert cookies and all("; Secure" in cookie for cookie in cookies)


def test_the_owner_still_comes_in_while_others_guess() -> None:
    owner = _client()
    guesser = TestClient(owner.app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)
    login = {"user": "anna", "password": "se:cret"}
    assert owner.post("/login", data=login).status_code == 303
    del owner.cookies[f"tl-app-{PORT}"]  # what is kept when a browser was closed
    for _ in range(7):
        guesser.post("/login", data={"user": "anna", "password": "no"})
    assert guesser.post("/login", data=login).status_code == 429
    assert owner.post("/login", data=login).status_code == 303
    assert owner.get("/").text == "inside"


def test_guessing_over_http_is_answered_with_429() -> None:
    guesser = _client()
    codes = [
        guesser.post(
            "/login", data={"user": "anna", "password": "no"}, headers={"x-forwarded-for": f"10.0.0.{number}"}
        )
        for number in range(7)
    ]
    assert [answer.status_code for answer in codes] == [401] * 5 + [429] * 2
    refused = guesser.post("/login", data={"user": "anna", "password": "se:cret"})
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 30
    assert "Please wait" in refused.text and not refused.cookies
    assert guesser.get("/config").status_code == 401
    assert guesser.post("/login", data={"user": "ben", "password": "other"}).status_code == 303
    assert guesser.get("/").text == "inside"


@pytest.mark.parametrize(
    "body", [b"", b"user=anna", b"\xff\xfe", b"user=anna&password=" + b"x" * 3000, b"user=%00&password=%ff"]
)
def test_a_strange_login_is_a_wrong_one(body: bytes) -> None:
    assert _client().post("/login", content=body).status_code == 401


def test_a_login_is_small() -> None:
    assert _client().post("/login", content=b"user=" + b"x" * 10_000).status_code == 413
    foreign = _client().post(
        "/login", data={"user": "anna", "password": "se:cret"}, headers={"origin": "http://evil.example"}
    )
    assert foreign.status_code == 403 and not foreign.cookies


def test_a_bucket_runs_empty_and_fills_again() -> None:
    clock = Clock()
    bucket = Buckets(Rate(60, 3), kept=2, clock=clock)
    assert [bucket.take("a") for _ in range(3)] == [0, 0, 0]
    assert bucket.take("a") == pytest.approx(1.0)
    assert bucket.take("b") == 0
    clock.now += 1
    assert bucket.take("a") == 0 and bucket.take("a") > 0
    for key in ("c", "d"):
        bucket.take(key)
    assert len(bucket._full_at) == 2
