"""A wish to stop, heard at the end of an update: SIGINT, SIGTERM, and SIGUSR2 as Slurm jobs get it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)
)  # Windows has no SIGUSR2
REPEAT_S = 0.5


class InterruptedRun(KeyboardInterrupt):
    """A run stopped by a signal after it was saved; ``exit_code`` is the shell's 128 + signal number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number

    def __reduce__(self) -> tuple:
        return InterruptedRun, (self.number,)  # it may come from another process


def hand_on(number: int) -> None:
    """Give a signal that a run has answered to the handler of the program it runs in, such as a scheduler's job.

    Without a handler nothing happens.
    """
    if callable(signal.getsignal(number)) and number != signal.SIGINT:  # that one is Python's own
        signal.raise_signal(number)


class StopRequest:
    """Inside the context, the first signal sets ``number``; one that comes later does what it always did.

    A repetition within ``REPEAT_S`` is the same wish: ``timeout`` tells process and group, and Linux tells a child
    once for each thread of a parent that dies. Forked children, such as data workers, inherit the handlers and ignore
    them.

    Args:
        heard: called with the number of the first signal.
    """

    def __init__(self, heard: Callable[[int], object] = lambda number: None) -> None:
        self.number: int | None = None
        self._heard = heard
        self._time = 0.0
        self._previous: dict[int, object] = {}
        self._process = os.getpid()

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._hear)
        return self

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        if self.number is None:
            self.number, self._time = number, time.monotonic()
            self._heard(number)
        elif time.monotonic() - self._time > REPEAT_S:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def __exit__(self, *_error: object) -> None:
        self._restore()
