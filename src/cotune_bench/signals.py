"""A wish to stop, heard at the end of an update: SIGINT, SIGTERM, and SIGUSR2 as Slurm jobs get it."""

import os
import signal
import threading
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)
)  # Windows has no SIGUSR2


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
    """Inside the context, the first signal only sets ``number``; a second one does what it always did.

    Forked children, such as data workers, inherit the handlers and ignore them.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, object] = {}
        self._process = os.getpid()

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._hear)
        return self

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() == self._process:
            self.number = number
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def __exit__(self, *_error: object) -> None:
        self._restore()
