"""Graceful stop after the current update, on SIGINT, SIGTERM or SIGUSR2, which Slurm jobs receive."""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from types import FrameType

#: Windows has no SIGUSR2.
SIGNALS = tuple(one for one in signal.Signals if one.name in ("SIGINT", "SIGTERM", "SIGUSR2"))


class InterruptedRun(KeyboardInterrupt):
    """A run stopped by a signal after it was saved; ``exit_code`` is the shell's 128 + signal number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number


def hand_on(number: int) -> None:
    """Give a signal that a run has answered to the handler of the program it runs in, such as a scheduler's job.

    Without a handler nothing happens.
    """
    if callable(signal.getsignal(number)) and number != signal.SIGINT:  # that one is Python's own
        signal.raise_signal(number)


def end_with_parent(end: Callable[[], object]) -> None:
    """Call ``end`` once the process that started this one has ended."""
    parent = multiprocessing.parent_process()
    assert parent  # noqa: S101
    threading.Thread(target=lambda: (parent.join(), end()), daemon=True).start()


class StopRequest:
    """Inside the context, the first signal sets ``number``; a second Ctrl-C acts as it does outside.

    Repetitions of the other signals are ignored: a run of a sweep receives one from whoever stops all processes of
    the group and one from its sweep.

    Args:
        on_stop: called with the number of the first signal.
    """

    def __init__(self, on_stop: Callable[[int], object] = lambda number: None) -> None:
        self.number: int | None = None
        self._on_stop = on_stop
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def ask(self, number: int) -> None:
        """Ask for a stop as the first signal does."""
        if self.number is None:
            self.number = number
            self._on_stop(number)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            self._restore()
            signal.raise_signal(number)
        self.ask(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def __exit__(self, *_error: object) -> None:
        self._restore()
