"""Signals and the lab: none of them may leave half of it behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any, Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_ending: list[int] = []
"""Signals that are to end this process, as far as `end` handled them."""


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within it, signals that end a process raise SystemExit instead, so that `finally` runs."""

    with _handled(end, (signal.SIGTERM, signal.SIGHUP)):
        yield


def end(number: int, _: FrameType | None = None) -> None:
    """A handler that has a signal end the process by way of an exception, and remembers it."""
    _ending.append(number)
    check()


def check() -> None:
    """Raises again what `end` raised and what was lost.

    Python drops an exception that a handler raises while a destructor runs; who works for long
    asks here now and then.
    """
    if signal.SIGINT in _ending:
        raise KeyboardInterrupt
    if _ending:
        raise SystemExit(128 + _ending[0])


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it, signals that end a process wait; the first one is raised afterwards."""
    seen: list[int] = []
    with _handled(lambda number, _: seen.append(number), ENDING):
        yield
    if seen:
        signal.raise_signal(seen[0])


@contextlib.contextmanager
def _handled(handler: Any, numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
