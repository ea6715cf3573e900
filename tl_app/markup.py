"""Small pieces of HTML for any of our pages. Every text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape as _escape


def text(value: object) -> str:
    """Any text, safe inside HTML and inside JSON: file names may hold bytes that are no characters."""
    return _escape(str(value).encode("utf-8", "replace").decode())


def hint(sentence: str) -> str:
    """What to do when there is nothing to show yet."""
    return f'<div class="tl-hint">{text(sentence)}</div>'


def message(sentence: str, kind: str = "warning") -> str:
    """One sentence that stands out."""
    return f'<div class="tl-message tl-{text(kind)}">{text(sentence)}</div>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str) -> str:
    """A plain table that scrolls sideways inside its own box; cells are escaped."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in headers)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="tl-table"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
