"""How verdicts on runs look in a terminal: findings, comparisons, studies. Knows nothing of how they are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from tl_app.analysis.diagnosis import Diagnosis

_COLOURS = {"problem": "red", "warning": "yellow", "note": "cyan"}


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
