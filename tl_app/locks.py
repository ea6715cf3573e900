"""One job per device, across all processes of a user. Knows nothing of runs beyond the name it is told."""

from __future__ import annotations

import json

from filelock import FileLock, Timeout

from tl_app import resources
from tl_app.errors import ResourceError
from tl_app.files import write_json


class DeviceLock:
    """The lock of one device, given back at the end of a ``with`` block unless a job kept it.

    Args:
        device: As in the settings.
        running: The run that this process trains already, whatever the device; empty when there is none.

    Raises:
        UserError: There is no such device, it is held (also on entering the block), or locks cannot be kept.
    """

    def __init__(self, device: str, running: str = "") -> None:
        from tl_app.engine.device import resolve_device

        folder = resources.locks_dir()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(
                f"The folder for locks, {folder}, cannot be made: {error.strerror or error}.",
                remedy="Set TL_APP_HOME to a folder that can be written.",
            ) from error
        self.device = str(resolve_device(device))
        if running:
            raise _busy(f"Run '{running}'", self.device)
        self._owner = folder / f"{self.device.replace(':', '-')}.json"
        self._lock = FileLock(self._owner.with_suffix(".lock"), thread_local=False)
        self.kept = False

    def __enter__(self) -> DeviceLock:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise _busy(self._owner_name(), self.device) from None
        self._owner.unlink(missing_ok=True)  # whoever it names is gone
        return self

    def __exit__(self, *_: object) -> None:
        if not self.kept:
            self._lock.release()

    def keep(self, run: str) -> None:
        """Leaves the lock with a run until :meth:`release`; others are told its name."""
        write_json(self._owner, {"run": run})
        self.kept = True

    def release(self) -> None:
        """Gives the device back."""
        self._lock.release()

    def _owner_name(self) -> str:
        try:
            return f"Run '{json.loads(self._owner.read_text())['run']}'"
        except (OSError, ValueError, KeyError):
            return "Another run"  # it holds the lock and is still reading its photos


def _busy(run: str, device: str) -> ResourceError:
    return ResourceError(
        f"{run} is being trained on {device}.",
        "One run at a time per device.",
        "Stop it, or wait until it is done.",
    )
