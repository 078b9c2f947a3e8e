"""A progress bar over everything that will be sent."""

from __future__ import annotations

import sys

BAR_CHARACTERS = 30


class Progress:
    """On a terminal one line that changes, elsewhere one line per transfer."""

    def __init__(self, transfers: int) -> None:
        self._transfers = transfers
        self._done = 0
        self._label = ""
        self._size = 0
        self._live = sys.stdout.isatty()

    def begin(self, label: str, size: int) -> None:
        """The next transfer."""
        self._label, self._size = label, size
        self.update(0, 0.0)

    def update(self, count: int, seconds: float) -> None:
        """How far it is."""
        if not self._live:
            return
        share = (self._done + min(1.0, count / max(1, self._size))) / self._transfers
        full = round(share * BAR_CHARACTERS)
        speed = f"{count * 8 / seconds / 1e6:6.1f} Mb/s" if seconds else " " * 11
        bar = "#" * full + "." * (BAR_CHARACTERS - full)
        print(f"\r[{bar}] {share:4.0%}  {self._label}: {count / 1e6:5.1f} of "
              f"{self._size / 1e6:.1f} MB  {speed}\033[K", end="", flush=True)

    def end(self, seconds: float) -> None:
        """This transfer is over."""
        self._done += 1
        if self._live:
            self.update(0 if self._done < self._transfers else self._size, 0.0)
            if self._done == self._transfers:
                print("\r\033[K", end="", flush=True)
        else:
            print(f"[{self._done}/{self._transfers}] {self._label}: {self._size / 1e6:.1f} MB "
                  f"in {seconds:.1f} s", flush=True)

    def abandon(self) -> None:
        """Leaves the line."""
        if self._live:
            print()
