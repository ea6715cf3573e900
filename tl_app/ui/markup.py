"""Small pieces of HTML that several tabs share. Every text from outside is escaped here.

Values go into ``gr.HTML`` through its default ``${value}`` template only: gradio evaluates what Handlebars
puts into a template as JavaScript, so a folder named ``${…}`` must never get there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape as _escape

from tl_app.events import Notice


def text(value: object) -> str:
    """Any text, safe inside HTML and inside JSON: file names may hold bytes that are no characters."""
    return _escape(str(value).encode("utf-8", "replace").decode())


def hint(sentence: str) -> str:
    """What to do when there is nothing to show yet."""
    return f'<div class="tl-hint">{text(sentence)}</div>'


def badge(word: str, kind: str = "") -> str:
    """A short word on a tinted ground; ``kind`` names the tint."""
    return f'<span class="tl-badge tl-{text(kind or word)}">{text(word)}</span>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Labelled values as a grid that wraps on narrow pages; empty values are left out."""
    cells = (f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs if value)
    return f'<dl class="tl-facts">{"".join(cells)}</dl>'


def progress(done: float, total: float, label: str) -> str:
    """A bar with a line of text above it; without a known total the bar moves by itself."""
    if total <= 0:
        bar = '<div class="tl-bar tl-bar-unknown"><i></i></div>'
    else:
        share = max(0.0, min(1.0, done / total)) * 100
        bar = (
            f'<div class="tl-bar" role="progressbar" aria-label="{text(label)}" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{share:.0f}"><i style="width:{share:.1f}%"></i></div>'
        )
    return f'<div class="tl-progress"><div class="tl-progress-text">{text(label)}</div>{bar}</div>'


def notices(items: Sequence[Notice]) -> str:
    """What the run had to say, newest first."""
    if not items:
        return ""
    lines = (f'<li class="tl-{item.level}">{text(item.text)}</li>' for item in reversed(items))
    return f'<ul class="tl-notices">{"".join(lines)}</ul>'


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
