"""Users, hashed passwords, tries and sessions. Nothing here knows or asks for the address of a client.

Gradio's own login is not used: it keeps passwords in plain text, counts no tries, and its cookie is sent across sites.
"""

from __future__ import annotations

import base64
import collections
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable

from tl_app.errors import UsageError

TRIES, TRIES_SECONDS = 5, 60.0
_TRIES_OF_ALL = 60  # a minute, all users together: hashing costs memory and time
_SESSION_SECONDS = 12 * 3600.0
_SESSIONS = 1000
# OWASP's password storage cheat sheet, 2024: N=2^15, r=8, p=3 (32 MB, about 0.2 s).
_COST, _BLOCK, _LANES = 2**15, 8, 3
_MEMORY = 128 * _COST * _BLOCK * 2


def parsed(auth: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Users with hashed passwords, from texts like ``user:password``.

    Raises:
        UsageError: One has no user or no password, or two have the same user.
    """
    found: dict[str, str] = {}
    for text in auth:
        user, colon, password = text.partition(":")
        if not (user.strip() and colon and password):
            raise UsageError(
                "A login needs a user and a password.", "Wanted is USER:PASSWORD.", "Example: --auth anna:…"
            )
        if user.strip() in found:
            raise UsageError(f"The user {user.strip()!r} is there twice.", remedy="Name each user once.")
        found[user.strip()] = hashed(password)
    return tuple(found.items())


def hashed(password: str) -> str:
    """What is kept of a password: salt and scrypt hash."""
    salt = os.urandom(16)
    return f"{_text(salt)}${_text(_scrypt(password, salt))}"


def verified(password: str, kept: str) -> bool:
    """Whether ``password`` is the one that ``kept`` was made of; takes as long either way."""
    salt, _, digest = kept.partition("$")
    return hmac.compare_digest(_scrypt(password, _bytes(salt)), _bytes(digest))


class Logins:
    """The state of the logins of one server.

    Args:
        logins: Users and hashed passwords.
        clock: Seconds, never going back.
    """

    def __init__(
        self, logins: Iterable[tuple[str, str]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nobody is logged in."""
        self._kept, self._clock = dict(logins), clock
        self._nobody = hashed(secrets.token_urlsafe())  # compared with when there is no such user
        self._lock, self._hashing = threading.Lock(), threading.Semaphore(2)
        self._secret = secrets.token_bytes(32)  # signs what known browsers show; gone with the process
        self._tries: dict[tuple[str, str], collections.deque[float]] = {}  # by user and known browser
        self._all_tries: collections.deque[float] = collections.deque()
        self._sessions: collections.OrderedDict[bytes, tuple[str, float]] = collections.OrderedDict()

    def log_in(self, user: str, password: str, device: str = "") -> tuple[str, float]:
        """Tries a password; takes about a quarter of a second.

        Whoever guesses at a user's password uses up the tries of browsers that nobody knows, not those of the user's
        own (the device cookies of OWASP's "Slow Down Online Guessing Attacks with Device Cookies").

        Args:
            user: Who it is said to be.
            password: As it was typed.
            device: What the browser was given when this user had logged in there, see :meth:`device_of`.

        Returns:
            The new session's secret, empty when the password is wrong; and the seconds to wait when there were too
            many tries, of this user or of all, and this one was not looked at.
        """
        user = user[:200]
        browser = self._known(user, device)
        wait = self._count(user, browser)
        if wait:
            return "", wait
        with self._hashing:
            right = verified(password, self._kept.get(user, self._nobody)) and user in self._kept
        if not right:
            return "", 0.0
        session = secrets.token_urlsafe(32)  # 256 bit
        with self._lock:
            self._tries.pop((user, browser), None)
            self._sessions[_digest(session)] = (user, self._clock() + _SESSION_SECONDS)
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        return session, 0.0

    def user_of(self, session: str) -> str:
        """Who a session belongs to; empty when it is none, or no longer."""
        with self._lock:
            user, ends = self._sessions.get(_digest(session), ("", 0.0))
            return user if self._clock() < ends else ""

    def device_of(self, user: str, device: str = "") -> str:
        """What makes a browser known in which a user has just logged in: what it has, or a new one."""
        user = user[:200]
        browser = self._known(user, device) or secrets.token_urlsafe(16)
        return f"{browser}.{self._signed(user, browser)}"

    def _known(self, user: str, device: str) -> str:
        """The name of a browser in which this user has logged in; empty for others."""
        browser, _, sign = device.partition(".")
        right = hmac.compare_digest(
            sign.encode("utf-8", "surrogatepass"), self._signed(user, browser).encode()
        )
        return browser if right else ""

    def _signed(self, user: str, browser: str) -> str:
        text = f"{browser}.{user}".encode("utf-8", "surrogatepass")  # the browser's name has no dot
        return hmac.new(self._secret, text, "sha256").hexdigest()

    def _count(self, user: str, browser: str) -> float:
        """Counts a try before it is looked at, so that many at once are no way around; seconds to wait."""
        with self._lock:
            now = self._clock()
            for name in [name for name, times in self._tries.items() if times[-1] <= now - TRIES_SECONDS]:
                del self._tries[name]
            own = self._tries.setdefault((user, browser), collections.deque())
            of_all = collections.deque[float]() if browser else self._all_tries
            for times, most in ((own, TRIES), (of_all, _TRIES_OF_ALL)):
                while times and times[0] <= now - TRIES_SECONDS:
                    times.popleft()
                if len(times) >= most:
                    if not own:
                        del self._tries[user, browser]
                    return times[0] + TRIES_SECONDS - now
            own.append(now)
            of_all.append(now)
            return 0.0


def _digest(session: str) -> bytes:
    """What a session is kept under: a look-up by the secret itself could be timed."""
    return hashlib.sha256(session.encode()).digest()


def _scrypt(password: str, salt: bytes) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=_COST, r=_BLOCK, p=_LANES, maxmem=_MEMORY, dklen=32)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)
