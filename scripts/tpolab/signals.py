"""Signals and the lab: none of them may leave half of it behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any, Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within it, signals that end a process raise SystemExit instead, so that `finally` runs."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handled(leave, (signal.SIGTERM, signal.SIGHUP)):
        yield


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
