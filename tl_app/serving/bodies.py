"""The body of a request, watched while it comes in: its bytes, its files, its pace.

What a ``Content-Length`` says is only used to refuse early. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.formparsers import MultiPartException
from starlette.types import Message, Receive

from tl_app.serving.rules import MB, Uploads


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered, and how that is said.

    Attributes:
        status: Of HTTP.
        text: For people; whole sentences.
        wait: Seconds after which it is worth trying again; 0 for never.
    """

    status: int
    text: str
    wait: float = 0.0


class Watcher(Protocol):
    """Something that looks at a body piece by piece."""

    def write(self, piece: bytes) -> Refusal | None:
        """Looks at the next piece."""


class Body:
    """A ``receive`` for the app that counts what passes.

    When something is wrong, the app gets the exception with which starlette and gradio report a bad form, because then
    they remove what they wrote to disk so far; what the client gets is :attr:`refusal`.

    Args:
        receive: The server's.
        most_bytes: None for no limit.
        seconds: From first to last; None for no limit.
        idle_seconds: Between two pieces; None for no limit.
        watcher: Also looks at each piece.
    """

    def __init__(
        self,
        receive: Receive,
        most_bytes: int | None,
        seconds: float | None,
        idle_seconds: float | None,
        watcher: Watcher | None = None,
    ) -> None:
        """Nothing has come in yet."""
        self.refusal: Refusal | None = None
        self._receive, self._most_bytes, self._watcher = receive, most_bytes, watcher
        self._idle_seconds = idle_seconds
        self._ends = None if seconds is None else time.monotonic() + seconds
        self.failed = False  # refused, or its sender went away
        self.ended = False  # nothing more of it is to come
        self._bytes = 0

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            MultiPartException: The body is refused, or its sender went away before the end.
        """
        if self.ended:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._patience())
        except TimeoutError:
            raise self._refused(Refusal(408, "This took too long to send. Please try again.", 1)) from None
        if message["type"] == "http.disconnect":
            self.ended = self.failed = True
            raise MultiPartException("The client went away.")
        piece = message.get("body", b"")
        self._bytes += len(piece)
        if self.failed:
            raise MultiPartException("The body was refused.")
        if self._most_bytes is not None and self._bytes > self._most_bytes:
            raise self._refused(too_large(self._most_bytes))
        self.ended = not message.get("more_body", False)
        refusal = self._watcher.write(piece) if self._watcher is not None else None
        if refusal is not None:
            raise self._refused(refusal)
        return message

    async def all(self) -> bytes:
        """Everything, at once; for bodies that are small.

        Raises:
            MultiPartException: As :meth:`receive`.
        """
        content = b""
        while not self.ended:
            content += (await self.receive()).get("body", b"")
        return content

    def _patience(self) -> float | None:
        waits = [self._idle_seconds, None if self._ends is None else max(self._ends - time.monotonic(), 0.0)]
        return min((wait for wait in waits if wait is not None), default=None)

    def _refused(self, refusal: Refusal) -> MultiPartException:
        self.refusal, self.failed = refusal, True
        return MultiPartException(refusal.text)


class Files:
    """Watches a form of files: how many, how large, and that there is nothing else in it.

    Gradio leaves behind on disk whatever part of a form it has no use for, so a form may hold files alone.

    Args:
        boundary: Of the form.
        uploads: What is allowed.
    """

    def __init__(self, boundary: bytes, uploads: Uploads) -> None:
        """No part has begun."""
        self._uploads = uploads
        self._files, self._file_bytes = 0, 0
        self._name, self._value, self._disposition = b"", b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
            },
        )
        self._refusal: Refusal | None = None

    def write(self, piece: bytes) -> Refusal | None:
        """Looks at the next piece of the form."""
        try:
            self._parser.write(piece)
        except FormParserError:
            return self._refusal or _NO_FORM
        return self._refusal

    def _begin(self) -> None:
        self._file_bytes, self._disposition = 0, b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename", b"").replace(b"\\", b"/").rpartition(b"/")[2]
        if options.get(b"name") != b"files" or name in (b"", b".", b"..") or b"\0" in name:
            self._refusal = _NO_FORM
            return
        self._files += 1
        if self._files > self._uploads.files:
            self._refusal = Refusal(413, f"At most {self._uploads.files} files are taken at once.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._file_bytes += end - start
        if self._uploads.file_bytes is not None and self._file_bytes > self._uploads.file_bytes:
            self._refusal = too_large(self._uploads.file_bytes)


_NO_FORM = Refusal(400, "This is no form with files in it.")


def too_large(most_bytes: int) -> Refusal:
    """What is said of a body or file that is too large."""
    shown = f"{most_bytes / MB:.0f} MB" if most_bytes >= MB else f"{most_bytes / 1000:.0f} kB"
    return Refusal(413, f"This is too large: at most {shown} are taken.")


def upload_body(receive: Receive, content_type: str, uploads: Uploads) -> Body | Refusal:
    """The watched body of an upload, or why there is none."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        return _NO_FORM
    watcher = Files(boundary, uploads)
    return Body(receive, uploads.request_bytes, uploads.seconds, uploads.idle_seconds, watcher)
