"""Stopping at a safe point: Ctrl-C, SIGTERM, `migrator pause`, and waiting there for a busy server.

A signal is only noted; the run stops after its batch or statement, and the same command goes on from
there. A second Ctrl-C does not wait: the batch in flight is rolled back by its database, and the same
command goes on all the same.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from migrator import journal
from migrator.context import Progress
from migrator.errors import Stopped, Terminated
from migrator.journal import Run
from migrator.sessions import Sessions
from migrator.throttle import Throttle

#: Seconds between two looks at the journal for a `migrator pause`.
_LOOK_EVERY = 1.0
#: Seconds between two lines that say why a run waits.
_SAY_EVERY = 30.0
_NUMBER = re.compile(r"\d+")
_PASSWORD = re.compile(r"(?<=://)([^:@/\s]*):[^@/\s]*@")


@dataclass
class Stop:
    """Which signal has come; 0 while none has."""

    signal: int = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Note SIGINT and SIGTERM instead of dying of them, for as long as a run takes. In a thread other
    than the main one Python lets nobody do that, and the process's own handlers stand."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Gate:
    """What is asked between two batches.

    Args:
        sessions: opens connections to the database.
        run: the run that may be asked to pause.
        stop: the signals so far.
        lock: looks after the run lock.
        progress: whom to tell of a pause.
    """

    sessions: Sessions
    run: Run
    stop: Stop
    lock: Callable[[], None]
    progress: Progress
    looked: float = field(default=0.0)
    throttle: Throttle = field(init=False)

    def __post_init__(self) -> None:
        self.throttle = Throttle(self.sessions, self.run.reference.child)

    def __call__(self) -> None:
        """Return when the run may go on.

        Raises:
            Stopped, Terminated: a signal has come; the message holds the command that goes on.
            PreflightRefused: on the first call: a throttle that is set cannot be read.
        """
        self.signalled()
        if time.monotonic() - self.looked < _LOOK_EVERY:
            return
        self.lock()
        began = said = 0.0
        before = ""
        while reason := self._reason():
            now = time.monotonic()
            began = began or now
            kind = _NUMBER.sub("", reason)  # a lag that grows is the same news
            if kind != before or now - said >= _SAY_EVERY:
                self.progress.note(reason)
                said, before = now, kind
            self._tell(reason)
            time.sleep(_LOOK_EVERY)
            self.signalled()
            self.lock()
        if began:
            self._tell(None)
            self.progress.note(f"going on after {time.monotonic() - began:.0f} s")
        self.looked = time.monotonic()

    def _reason(self) -> str | None:
        """Why to wait; also says that we live."""
        with self.sessions.open() as connection:
            requested = journal.heartbeat(connection, self.run)
        if requested == "pause":
            return f"paused: {self.run.operation} of {self.run.reference}; `migrator resume`"
        reason = self.throttle.reason()
        return f"waiting: {reason}" if reason else None

    def _tell(self, reason: str | None) -> None:
        """`migrator status` reads it in the journal."""
        with self.sessions.open() as connection:
            journal.waits(connection, self.run, reason)

    def signalled(self) -> None:
        """Raise where a signal has come; see `__call__`."""
        if not self.stop.signal:
            return
        what = f"the {self.run.operation} of {self.run.reference} after a batch; nothing is half done."
        if self.stop.signal == signal.SIGINT:
            raise Stopped(f"Ctrl-C stopped {what}", hint=f"It goes on with: {resume_command()}")
        raise Terminated(f"SIGTERM stopped {what}", hint=f"It goes on with: {resume_command()}")


def resume_command() -> str:
    """The command line of this process, its passwords masked, to be given again."""
    words = [Path(sys.argv[0]).name or "migrator", *sys.argv[1:]]
    return shlex.join(_PASSWORD.sub(r"\1:***@", word) for word in words)
