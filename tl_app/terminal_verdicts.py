"""How verdicts on runs look in a terminal: findings, comparisons, studies. Knows nothing of how they are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from tl_app.analysis.comparison import Comparison
    from tl_app.analysis.diagnosis import Diagnosis

_COLOURS = {"problem": "red", "warning": "yellow", "note": "cyan"}


def show_comparison(found: Comparison) -> None:
    """A column per run, the settings that differ, and a sentence per pair."""
    from tl_app.analysis.comparison import in_words

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", *(run.name for run in found.runs)):
        table.add_column(escape(column), overflow="fold")
    for row in zip(*map(in_words, found.runs), strict=True):
        table.add_row(row[0][0], *(value for _, value in row))
    table.add_section()
    for each in found.differences:
        table.add_row(each.label, *map(escape, each.values), style="dim")
    console.print(table)
    for pair in found.pairs:
        console.print(pair.sentence, soft_wrap=True, markup=False)


def show_diagnosis(found: Diagnosis) -> None:
    """A paragraph per finding, with what may help."""
    console = Console(highlight=False)
    console.print(f"[bold]{escape(found.name)}[/]: {found.summary}", soft_wrap=True)
    for finding in found.findings:
        colour = _COLOURS[finding.severity]
        console.print(f"[{colour}]{finding.severity}[/]  {escape(finding.text)}", soft_wrap=True)
        if finding.remedy is not None:
            settings = ", ".join(
                f"{name} = {'automatic' if value is None else value}"
                for name, value in finding.remedy.settings.items()
            )
            console.print(f"  → {finding.remedy.label}: {settings}", soft_wrap=True, markup=False)
