"""What a person sees while a search runs: a bar with the time left, the front, a line per generation."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from equimorph.errors import ConfigurationError
from equimorph.inspection import mixture_shares
from equimorph.reports.words import compact
from equimorph.search import Observer

if TYPE_CHECKING:
    from equimorph.search.candidate import Member


_SHOWN_AFTER_SECONDS = 1.0


class ProgressBar(Observer):
    """A progress bar on standard error, and lines above it that stay."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
        )
        self._task = self._progress.add_task("training", total=None)
        self._candidates = 0
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()

    def planned(self, total_steps: int) -> None:
        """Set the length of the bar, and show it from the first time on."""
        self._progress.start()
        self._shown = True
        self._progress.update(self._task, total=total_steps)

    def stepped(self, steps: int) -> None:
        """Move the bar."""
        self._progress.advance(self._task, steps)

    def recorded(self, line: dict[str, Any]) -> None:
        """Count candidates, and tell of those that diverged."""
        if line["event"] != "candidate":
            return
        self._candidates += 1
        self._progress.update(self._task, description=f"candidate {self._candidates}")
        if line["status"] == "diverged" and line["generation"] > 0:
            self._console.print(f"candidate {line['candidate']} ({line['move']}) diverged and is dropped")

    def selected(self, generation: int, generations: int, parents: list[Member], front: list[Member]) -> None:
        """Print the line of a generation: the best, then the front."""
        best = front[0]
        shares = mixture_shares(best.state.network)
        dominant = [max(members, key=members.__getitem__) for members in shares.values()]
        found = f"a mixture, mostly {compact(dominant)}" if shares else compact(best.candidate.constraints)
        points = ", ".join(f"{100 * member.error:.2f} % at {member.parameters:,}" for member in front)
        self._console.print(
            f"generation {generation}/{generations}: best {found}, validation error "
            f"{100 * best.error:.2f} %; front: {points}",
            highlight=False,
        )


class Reading:
    """A progress bar on standard error while data are read; it appears when that takes a while."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("samples"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}
        self._began = time.monotonic()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that so many of all samples are done."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)
        if not self._shown and time.monotonic() - self._began > _SHOWN_AFTER_SECONDS:
            self._shown = True
            self._progress.start()


class TensorBoardLog(Observer):
    """Writes losses and errors of every candidate for TensorBoard, as they are recorded.

    Args:
        folder: The run folder; logs go into its subfolder tensorboard.
    Raises:
        ConfigurationError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigurationError(
                'search: --tensorboard needs TensorBoard; run pip install "equimorph[tensorboard]".'
            ) from None
        self._make_writer = SummaryWriter
        self._folder = Path(folder) / "tensorboard"
        self._writer: Any = None

    def recorded(self, line: dict[str, Any]) -> None:
        """Write the numbers of an epoch."""
        if line["event"] == "epoch":
            if self._writer is None:  # the run folder exists by now
                self._writer = self._make_writer(str(self._folder))
            for key in ("train_loss", "validation_loss", "validation_error"):
                step = round(1000 * line["epoch"])
                self._writer.add_scalar(f"candidate {line['candidate']:04d}/{key}", line[key], step)
        elif line["event"] == "result" and self._writer is not None:
            self._writer.close()


class Together(Observer):
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def planned(self, total_steps: int) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.planned(total_steps)

    def stepped(self, steps: int) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.stepped(steps)

    def recorded(self, line: dict[str, Any]) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.recorded(line)

    def selected(self, generation: int, generations: int, parents: list[Member], front: list[Member]) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.selected(generation, generations, parents, front)
