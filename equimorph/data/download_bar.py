"""The progress bar of a download."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn


class Bar:
    """A progress bar of bytes, with speed and time left."""

    def __init__(self, console: Console, name: str, size_bytes: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            *(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()),
            console=console,
        )
        self._name, self._size_bytes = name, size_bytes
        self._task = self._progress.add_task(name, total=size_bytes)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def begin(self, num_bytes: int) -> None:
        """Start with so many bytes, which do not count for the speed."""
        self._progress.reset(self._task, total=self._size_bytes, completed=num_bytes, description=self._name)

    def advance(self, num_bytes: int) -> None:
        """Count bytes that came."""
        self._progress.advance(self._task, num_bytes)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def checking(self) -> None:
        """Show that the checksum is being computed."""
        self._progress.update(self._task, description=f"{self._name}, checking")
