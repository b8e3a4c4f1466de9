"""A call of the command on photographs and folders: once through, a dry run, or a watch over what arrives."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from nedr.album import plan, report, watch
from nedr.album import run as album
from nedr.album.journal import stamp
from nedr.album.plan import Selection, Task
from nedr.album.report import Progress
from nedr.album.run import Journals, Outcome
from nedr.errors import UsageError
from nedr.inference import weights
from nedr.inference.dehazer import Dehazer, Method, Quality, cores

Tell: TypeAlias = Callable[[Outcome, Progress], None]


@dataclass(frozen=True)
class Session:
    """What is to be done with which photographs.

    sources, output, map, compare, selection: as for `nedr.album.plan.plan_tasks`
    options: as for `nedr.album.run.run_tasks`
    weights, method, device, threads: as for `nedr.Dehazer`, the threads shared by all workers;  detail: its quality
    workers: photographs at once, None for one per thread, at most MAX_WORKERS;  limit: the most that are done
    report: the file to report to, or None
    tell: called with each outcome, and the bar that is drawn meanwhile;  say: called with one line for the user
    """

    sources: list[str]
    tell: Tell
    say: Callable[[str], None]
    output: str | None = None
    map: bool = False
    compare: bool = False
    selection: Selection = field(default_factory=Selection)
    options: album.Options = field(default_factory=album.Options)
    weights: str | None = None
    method: Method = "nedr"
    device: str = "cpu"
    detail: Quality = "balanced"
    threads: int | None = None
    workers: int | None = None
    limit: int | None = None
    report: Path | None = None

    def once(self) -> list[Outcome]:
        """Do all there is to do. Raises what planning does."""
        return self._dehaze(self._tasks())

    def dry(self) -> list[Task]:
        """The tasks that `once` would do; nothing is written."""
        tasks = self._tasks()
        with album.open_journals(tasks, writing=False) as journals:
            before = album.finished(tasks, journals, self._options())
            todo = [task for task, outcome in zip(tasks, before, strict=True) if outcome is None]
        return todo[: self.limit]

    def watch(self) -> None:
        """Do all that is complete, then wait for more, until KeyboardInterrupt. Raises UsageError without folders."""
        for source in self.sources:
            if not Path(source).is_dir():
                raise UsageError(f"{source} is not a folder; watching expects folders")
        complete, outcomes, waiting = watch.Complete(), dict[Path, Outcome](), True
        attempted: dict[Path, tuple[int, str]] = {}
        for changed in watch.changes([Path(source) for source in self.sources]):
            if not (changed or waiting):
                continue
            tasks = [task for task in self._tasks() if _stamp(task) not in (None, attempted.get(task.job.photo))]
            ready = [task for task in tasks if complete(task.job.photo)]
            waiting = len(ready) < len(tasks)
            if ready:
                attempted |= {task.job.photo: known for task in ready if (known := _stamp(task))}
                done = self._dehaze(ready, outcomes.values())
                outcomes |= {outcome.task.job.photo: outcome for outcome in done}

    def _tasks(self) -> list[Task]:
        return plan.plan_tasks(self.sources, self.output, map=self.map, compare=self.compare, selection=self.selection)

    def _dehaze(self, tasks: list[Task], earlier: Iterable[Outcome] = ()) -> list[Outcome]:
        outcomes, started = list[Outcome](), time.monotonic()
        with album.open_journals(tasks) as journals:
            options = self._options()
            before = list(album.finished(tasks, journals, options))
            todo = [task for task, outcome in zip(tasks, before, strict=True) if outcome is None][: self.limit]
            workers, dehazer = self._workers(len(todo))
            with Progress(len(todo)) as progress:
                work = album.run_tasks(todo, dehazer, journals, replace(options, watch=progress.frame), workers=workers)
                try:
                    for outcome in chain(filter(None, before), work):
                        outcomes.append(outcome)
                        self.tell(outcome, progress)
                finally:
                    work.close()
                    progress.end()
                    whole = list(_accounted(tasks, outcomes, journals, options))
                    self._sum_up(whole, time.monotonic() - started)
                    if self.report:
                        report.write(self.report, [*earlier, *whole])
        return outcomes

    def _sum_up(self, outcomes: list[Outcome], seconds: float) -> None:
        if unread := [outcome.task.job.photo for outcome in outcomes if outcome.state == "unread"]:
            self.say(report.unread(unread))
        if any(outcome.task.root is not None for outcome in outcomes):
            self.say(report.summary(outcomes, seconds))

    def _options(self) -> album.Options:
        """The options with the fingerprint of the network."""
        network = weights.sha256(weights.resolve(self.weights)) if self.method == "nedr" else self.method
        return replace(self.options, network=network if self.detail == "balanced" else f"{network} {self.detail}")

    def _workers(self, photographs: int) -> tuple[int, Dehazer]:
        """How many work at once, and what they share."""
        threads = self.threads or cores()
        workers = min(self.workers or min(threads, album.MAX_WORKERS), max(1, photographs))
        share = max(1, threads // workers)
        how: dict[str, Any] = {"method": self.method, "quality": self.detail, "device": self.device}
        return workers, Dehazer(self.weights, threads=share, **how)


def _accounted(
    tasks: Iterable[Task], outcomes: Iterable[Outcome], journals: Journals, options: album.Options
) -> Iterator[Outcome]:
    """What became of every task: as told, else finished while the run was left, else not come to."""
    told = {id(outcome.task): outcome for outcome in outcomes}
    for task in tasks:
        if id(task) in told:
            yield told[id(task)]
        else:
            [late] = album.finished([task], journals, options)
            yield replace(late, state="done") if late else Outcome(task, "left")


def _stamp(task: Task) -> tuple[int, str] | None:
    """What tells the versions of a photograph apart; None for one that cannot be read now."""
    try:
        return None if task.error else stamp(task.job.photo)
    except OSError:
        return None
