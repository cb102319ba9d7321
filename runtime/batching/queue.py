"""The bounded queue, and the one owner of its state: only its methods, and those of its `Room`,
change an `Entry`, and each public method takes the lock itself.

Jobs that find the queue full stand in line, first come, first served. A job larger than a batch
moves to the back after each slice, so that small jobs are not starved, and counts only by its
window.
Nothing waits for a batch to fill: batches form by themselves while the runners are busy.
"""

import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from runtime.batching.capacity import Capacity, Needs
from runtime.batching.entries import Batch, Claim, Entry, Slice
from runtime.batching.jobs import Job
from runtime.batching.room import Room
from runtime.engines.backend import WORTH_SHARING, Tensors
from runtime.errors import EngineError, OverloadedError
from runtime.observer import SafeObserver

T = TypeVar("T")


class JobQueue:
    """Jobs on their way to `runners` threads.

    It holds at most `max_images` and `max_bytes` (None: no limit). Unless `whole_batches`,
    batches are kept small enough for all runners to have one.
    """

    def __init__(
        self,
        capacity: Capacity,
        observer: SafeObserver,
        *,
        max_images: int,
        max_bytes: int | None,
        runners: int,
        whole_batches: bool,
    ) -> None:
        self._capacity = capacity
        self._observer = observer
        self._room = Room(max_images, max_bytes)
        self._runners = runners
        self._whole_batches = whole_batches
        self._queue: deque[Entry] = deque()
        self._line: deque[Entry] = deque()
        self._cancelled: deque[Entry] = deque()
        self._running_images = 0
        self._running_bytes = 0
        self._closed = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)

    @property
    def images(self) -> int:
        """Images waiting, a large job counted by its window."""
        return self._room.images

    @property
    def oldest(self) -> float:
        """Seconds that the job which has waited longest for its first run has waited; 0 for
        none."""
        with self._lock:
            arrived = min((e.arrived for e in self._queue if not e.taken), default=None)
        return 0.0 if arrived is None else time.monotonic() - arrived

    def submit(self, job: Job[T], *, wait: bool) -> Future[T]:
        """Put a job into the queue. Where that is full, block until it has room or, without
        `wait`, raise OverloadedError."""
        entry = self._watched(job)
        with self._lock:
            self._arrive(entry)
            while entry.where is self._line:
                if not wait:
                    raise self._refused(entry)
                try:
                    self._freed.wait()
                except BaseException:  # Ctrl-C: nobody has its future
                    entry.future.cancel()
                    self._drop_cancelled()
                    raise
        return entry.future

    def enqueue(self, job: Job[T]) -> Future[T]:
        """Put a job into the queue, or in line for it where that is full."""
        entry = self._watched(job)
        with self._lock:
            self._arrive(entry)
        return entry.future

    def follow(self, entry: Entry, job: Job[Any]) -> None:
        """Go on with the job that follows an entry's finished one: into the queue, full or not."""
        job = replace(job, timed=job.timed or entry.job.timed)
        with self._lock:
            self._drop_cancelled()
            if entry.settled:
                return
            entry.job, entry.arrived = job, time.monotonic()
            entry.needs = self._capacity.needs(job.graph, job.size)
            entry.taken = entry.done = 0
            entry.outputs = None
            self._room.measure(entry)
            self._join_queue(entry)

    def take(self) -> Batch | None:
        """Wait for work and take a batch; None once the queue is closed and drained."""
        with self._lock:
            while True:
                self._drop_cancelled()
                batch = self._take()
                if batch is not None:
                    if self._queue:
                        self._work.notify()
                    return batch
                if self._closed and not self._queue:
                    # Others may be waiting for memory for what was the last batch.
                    self._work.notify_all()
                    return None
                self._work.wait()

    def claim(self, job: Job[Any]) -> Claim | None:
        """For a job of one row, where nothing runs and nothing waits: its caller may run it, and
        then calls `end`. None: it belongs into the queue."""
        if job.count > 1 or job.then is not None:
            return None  # what several runners may share, or one has to go on with
        needs = self._capacity.needs(job.graph, job.size)
        claim = Claim(needs.bytes(1), _may_share(job, needs))
        with self._lock:
            if self._closed or self._running_images or self._queue or self._line:
                return None
            self._running_images += 1
            self._running_bytes += claim.bytes
        self._observer.queued(job.graph, 1)
        return claim

    def end(self, claim: Claim) -> None:
        """The run of a claim is over."""
        with self._lock:
            self._give_back(1, claim.bytes)
            if self._queue:
                self._work.notify()  # there is memory for what came meanwhile
            if self._closed:
                self._freed.notify_all()

    def release(self, batch: Batch) -> None:
        """The run of a batch is over. Wakes no runner: the caller calls `take` next."""
        with self._lock:
            self._give_back(batch.images, batch.bytes)

    def place(self, entry: Entry, like: Tensors) -> Tensors:
        """The arrays of all rows of an entry, made for outputs like these the first time."""
        with self._lock:
            if entry.outputs is None:
                entry.outputs = {
                    name: np.empty((entry.job.count, *a.shape[1:]), a.dtype)
                    for name, a in like.items()
                }
            return entry.outputs

    def add_done(self, entry: Entry, rows: int) -> int:
        """So many more rows are in their place. Returns how many are still missing."""
        with self._lock:
            entry.done += rows
            return entry.job.count - entry.done

    def settle(self, entry: Entry, rejected: str | None = None) -> bool:
        """Close an entry, which leaves the queue; with the reason where it gets no result.

        True: the caller has to set its future. False: it was cancelled or settled before.
        """
        with self._lock:
            if entry.settled:
                return False
            entry.settled = True
            self._leave(entry)
        wanted = entry.future.set_running_or_notify_cancel()
        reason = rejected if wanted else "cancelled"
        if reason is not None:
            self._observer.rejected(entry.job.graph, entry.job.count, reason)
        return wanted

    def close(self) -> None:
        """Take no more jobs; `take` gives those queued or in line, and then None."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    def check_open(self) -> None:
        """EngineError after `close`."""
        if self._closed:
            raise EngineError("the model is closed: load it again")

    def await_callers(self) -> None:
        """Once all runners have ended: wait for what runs in a caller's thread."""
        with self._lock:
            while self._running_images:
                self._freed.wait()

    # What follows is called under the lock, apart from `_watched` and `_note_cancelled`.

    def _arrive(self, entry: Entry) -> None:
        """Into the queue where there is room and nobody waits for it, else in line."""
        self.check_open()
        self._drop_cancelled()
        self._room.measure(entry)
        if self._line or self._room.lacks(entry):
            entry.where = self._line
            self._line.append(entry)
        else:
            self._join_queue(entry)

    def _give_back(self, images: int, held: int) -> None:
        """What a run that is over held."""
        self._running_images -= images
        self._running_bytes -= held

    def _admit(self) -> None:
        """Let in from the line whoever fits, in order."""
        while self._line and not self._room.lacks(self._line[0]):
            self._join_queue(self._line.popleft())
            self._freed.notify_all()

    def _join_queue(self, entry: Entry) -> None:
        entry.where = self._queue
        self._queue.append(entry)
        self._room.add(entry, entry.weight)
        self._observer.queued(entry.job.graph, entry.job.count)
        if len(self._queue) == 1:
            self._work.notify()  # with more, a runner is on its way, which wakes the next

    def _refused(self, entry: Entry) -> OverloadedError:
        """Take an entry out of the line. Returns the error: raised here, it would keep this frame,
        and with it the job, in memory until a garbage collection."""
        overload = self._room.overload(self._line[0])
        self._leave(entry)
        self._observer.rejected(entry.job.graph, entry.job.count, "overloaded")
        return overload

    def _leave(self, entry: Entry) -> None:
        """Take an entry out of the line, or its remaining rows out of the queue."""
        if entry.where is None:
            return
        entry.where.remove(entry)
        if entry.where is self._line:
            self._freed.notify_all()
        else:
            self._room.add(entry, -entry.weight)
            self._work.notify()  # a smaller one may be first now, for which there is memory
        entry.where = None
        self._admit()

    def _take(self) -> Batch | None:
        if not self._queue:
            return None
        first = self._queue[0]
        job, most = first.job, self._fitting(first)
        if not most:
            return None
        slices: list[Slice] = []
        others: list[Entry] = []
        images = 0
        while self._queue and images < most:
            entry = self._queue.popleft()
            if entry is not first and not _run_together(job, entry.job):
                others.append(entry)
                continue
            rows, weight = min(most - images, entry.remaining), entry.weight
            slices.append(Slice(entry, entry.taken, entry.taken + rows))
            images += rows
            entry.taken += rows
            self._room.add(entry, entry.weight - weight)
            if entry.remaining:
                self._queue.append(entry)
            else:
                entry.where = None
        self._queue.extendleft(reversed(others))
        held = first.needs.bytes(images)
        others_come = self._running_images or self._queue or self._line
        solo = images == 1 and not others_come and _may_share(job, first.needs)
        self._running_images += images
        self._running_bytes += held
        self._admit()
        return Batch(slices, images, held, solo)

    def _fitting(self, first: Entry) -> int:
        """How many rows like this entry's may run now; 0 where a run has to end first."""
        alone = first.job.alone
        rows = min(first.remaining, first.needs.most) if alone else self._share(first)
        if self._capacity.memory is None:
            return rows
        fitting = first.needs.fitting(rows, self._capacity.memory - self._running_bytes)
        if alone and fitting < rows and self._running_images:
            return 0
        # A row that is larger than all there is runs alone.
        return fitting if fitting or self._running_images else 1

    def _share(self, first: Entry) -> int:
        most = first.needs.most
        if self._whole_batches:
            return most
        # What waits and what runs, split evenly: one request of 64 keeps two cores busy, and
        # nobody stands behind a batch that took all there was while another was about to end.
        # What takes no time is not split: waking a second runner takes longer.
        least = int(WORTH_SHARING / first.needs.seconds) if first.needs.seconds else 1
        there = self._running_images
        for entry in self._queue:
            if there >= self._runners * most:
                break
            if entry.job.graph == first.job.graph and entry.job.size == first.job.size:
                there += entry.remaining
        return min(most, max(least, -(-there // self._runners)))

    def _watched(self, job: Job[Any]) -> Entry:
        """A new entry, whose future tells when it is cancelled."""
        entry = Entry(job, Future(), self._capacity.needs(job.graph, job.size))
        # Weakly, or entry and future would hold each other, and the images, until a collection.
        watched = weakref.ref(entry)
        entry.future.add_done_callback(lambda future: self._note_cancelled(watched(), future))
        return entry

    def _note_cancelled(self, entry: Entry | None, future: Future[Any]) -> None:
        """Take a cancelled job out there and then, if the lock is free, and soon otherwise.

        Never waits for the lock: a forgotten stream is cancelled by the garbage collector, which
        may run in the very thread that holds it.
        """
        if entry is not None and future.cancelled():
            self._cancelled.append(entry)
            if self._lock.acquire(blocking=False):
                try:
                    self._drop_cancelled()
                finally:
                    self._lock.release()

    def _drop_cancelled(self) -> None:
        while self._cancelled:
            entry = self._cancelled.popleft()
            self._leave(entry)
            if not entry.settled:
                entry.settled = True
                self._observer.rejected(entry.job.graph, entry.job.count, "cancelled")
                entry.future.set_running_or_notify_cancel()


def _may_share(job: Job[Any], needs: Needs) -> bool:
    """Whether all cores may work on one row of a job: not where the same job must always give the
    same bytes, nor where it takes no time."""
    return not job.alone and needs.seconds >= WORTH_SHARING


def _run_together(first: Job[Any], other: Job[Any]) -> bool:
    """Whether rows of two jobs may be in one run."""
    alike = first.graph == other.graph and first.size == other.size
    return alike and not first.alone and not other.alone
