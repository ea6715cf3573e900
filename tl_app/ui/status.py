"""Where a run stands, as HTML: one card for running, stored and failed runs alike."""

from __future__ import annotations

from tl_app import words
from tl_app.backbones.naming import family_and_label
from tl_app.snapshot import Snapshot
from tl_app.ui import markup

_KINDS = {"starting": "running", "stopping": "stopped"}


def card(snapshot: Snapshot) -> str:
    """Name, state, progress and figures of a run."""
    kind = _KINDS.get(snapshot.state, snapshot.state)
    head = (
        f'<div class="tl-run-head"><h3>{markup.text(snapshot.run)}</h3>{markup.badge(snapshot.state, kind)}'
        f"<span>{markup.text(network(snapshot.backbone))}</span></div>"
    )
    failed = "error" if snapshot.state == "failed" else "info"
    message = markup.message(snapshot.message, failed) if snapshot.message else ""
    if snapshot.suggestion:
        message += markup.message(snapshot.suggestion, "info")
    return f'<div class="tl-card tl-run">{head}{message}{_progress(snapshot)}{_figures(snapshot)}</div>'


def _progress(snapshot: Snapshot) -> str:
    if not snapshot.is_running:
        if not snapshot.epochs:
            return ""
        done = len(snapshot.epoch_rows)
        if snapshot.state == "completed" and done < snapshot.epochs:
            planned = words.plural(snapshot.epochs, "epoch")
            return markup.progress(done, done, f"Finished after {done} of {planned}")
        return markup.progress(
            done, snapshot.epochs, f"{done} of {words.plural(snapshot.epochs, 'epoch')} done"
        )
    if snapshot.state == "stopping":
        return markup.progress(0, 0, "Stopping after this batch; the best model is kept …")
    if snapshot.activity:
        done, total = snapshot.activity_done, snapshot.activity_total
        return markup.progress(done, total, activity_line(snapshot.activity, done, total, snapshot.unit))
    if not snapshot.steps:
        return markup.progress(0, 0, "Getting ready …")
    left = f", {words.duration(snapshot.eta_seconds)} left" if snapshot.eta_seconds is not None else ""
    phase = f" · phase {snapshot.phase + 1} of {snapshot.phases}" if snapshot.phases > 1 else ""
    epoch = max(1, snapshot.epoch)
    return markup.progress(snapshot.step, snapshot.steps, f"Epoch {epoch} of {snapshot.epochs}{phase}{left}")


def activity_line(activity: str, done: int, total: int, unit: str) -> str:
    """What is going on before or beside training, and how far it is: ``Reading photos: 12 of 398 photos``."""
    if unit == "bytes":
        amount = f"{words.size(done)} of {words.size(total)}" if total else words.size(done)
    else:
        amount = f"{done:,} of {total:,} {unit}" if total else f"{done:,} {unit}"
    return f"{activity[:1].upper()}{activity[1:]}: {amount}"


def _figures(snapshot: Snapshot) -> str:
    trained, total = snapshot.trainable_parameters, snapshot.total_parameters
    left = words.duration(snapshot.eta_seconds) if snapshot.eta_seconds is not None else ""
    precision = f" · {snapshot.precision}" if snapshot.precision else ""
    pairs = [
        ("Best accuracy", words.percent(snapshot.val_accuracy)),
        ("Model", snapshot.combined.model if snapshot.combined is not None else ""),
        ("Best epoch", str(snapshot.best_epoch) if snapshot.best_epoch else ""),
        ("Time left", left if snapshot.is_running else ""),
        ("Time", words.duration(snapshot.seconds) if snapshot.seconds else ""),
        ("Photos a second", f"{snapshot.images_per_second:,.0f}" if snapshot.images_per_second else ""),
        ("Device", f"{snapshot.device}{precision}" if snapshot.device else ""),
        ("Memory", words.size(snapshot.memory_bytes) if snapshot.memory_bytes else ""),
        ("Trained", f"{words.count(trained)} of {words.count(total)}" if total else ""),
        ("Freezing depth", str(snapshot.frozen_stages) if total else ""),
        ("Batch", str(snapshot.batch_size) if snapshot.batch_size else ""),
    ]
    return markup.facts(pairs)


def network(backbone: str) -> str:
    """What people call a backbone."""
    named = family_and_label(backbone)
    return named[1] if named is not None else backbone  # a run of a newer torchvision
