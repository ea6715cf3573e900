"""Small pieces of HTML that several tabs share. Every text from outside is escaped here.

Values go into ``gr.HTML`` through its default ``${value}`` template only: gradio evaluates what Handlebars
puts into a template as JavaScript, so a folder named ``${…}`` must never get there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tl_app.events import Notice
from tl_app.markup import hint, message, table, text

__all__ = ["badge", "facts", "hint", "message", "notices", "progress", "table", "text"]


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
