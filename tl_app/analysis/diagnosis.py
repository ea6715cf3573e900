"""A run's diagnosis: everything that its curves, counts and settings give reason to say, in plain words.

Reads the run's folder; what is worth saying is :mod:`tl_app.analysis.symptoms`'s business. Imports no torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tl_app import words
from tl_app.analysis.learned import learned_from
from tl_app.analysis.symptoms import SYMPTOMS, Facts, Finding, Remedy
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import UsageError
from tl_app.runs import RunInfo
from tl_app.snapshot import Snapshot, snapshot_of


@dataclass(frozen=True)
class Diagnosis:
    """What there is to say about a run.

    Attributes:
        run: Its folder.
        name: Its name.
        summary: One sentence.
        findings: The worst first; none when nothing is suspicious.
    """

    run: str
    name: str
    summary: str
    findings: tuple[Finding, ...]


def diagnose_run(info: RunInfo, snapshot: Snapshot | None = None) -> Diagnosis:
    """The diagnosis of a run as it stands.

    Args:
        info: The run.
        snapshot: Its events, where they were read before.

    Raises:
        DataError: Its manifest is gone or damaged.
    """
    snapshot = snapshot or snapshot_of(info)
    if not snapshot.epoch_rows:
        return Diagnosis(str(info.path), info.name, "No epoch is done yet: there is nothing to judge.", ())
    findings = diagnose(facts_of(info, snapshot), settings_of(info))
    return Diagnosis(str(info.path), info.name, _summary(findings, len(snapshot.epoch_rows)), findings)


def facts_of(info: RunInfo, snapshot: Snapshot) -> Facts:
    """What a run is judged by, from its folder and its events.

    Raises:
        DataError: Its manifest is gone or damaged.
    """
    index = DatasetIndex.read_manifest(info.path / "manifest.csv")
    trained = learned_from(info)
    return Facts(
        config=info.config,
        rows=tuple(snapshot.epoch_rows),
        since=max(
            (start for start, _ in snapshot.phase_starts if start < len(snapshot.epoch_rows)), default=0
        ),
        frozen_stages=snapshot.frozen_stages,
        stages=len(info.stages),
        counts=index.counts(),
        shared=sum(photo.content_hash in trained for photo in index.used("val")),
        made_split=index.made_split,
        rolled_back=snapshot.rolled_back,
        extended=bool(info.extensions),
        complete=info.state == "completed" and len(snapshot.epoch_rows) >= info.epochs,
    )


def diagnose(facts: Facts, asked: TrainConfig) -> tuple[Finding, ...]:
    """All findings, the worst first.

    Args:
        facts: With an epoch at least.
        asked: The settings that a remedy would be put into; one that contradicts them is not offered.
    """
    found = [finding for symptom in SYMPTOMS if (finding := symptom(facts)) is not None]
    return tuple(
        finding if _fits(finding.remedy, asked) else dataclasses.replace(finding, remedy=None)
        for finding in found
    )


def settings_of(info: RunInfo) -> TrainConfig:
    """The settings that a remedy is put into: as they were given, or what recipe `auto` made of them."""
    return info.config if info.asked.recipe == "auto" else info.asked


def with_remedy(settings: TrainConfig, remedy: Remedy) -> TrainConfig:
    """The settings of a run with a remedy in them.

    Raises:
        UsageError: They contradict each other.
    """
    return dataclasses.replace(settings, **remedy.settings)


def _fits(remedy: Remedy | None, asked: TrainConfig) -> bool:
    if remedy is None:
        return True
    try:
        with_remedy(asked, remedy)
    except UsageError:
        return False
    return True


def _summary(findings: tuple[Finding, ...], epochs: int) -> str:
    if not findings:
        return f"Nothing suspicious in {words.plural(epochs, 'epoch')}."
    return f"{words.plural(len(findings), 'thing')} to know about this run."
