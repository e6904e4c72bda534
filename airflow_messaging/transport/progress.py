"""Tells in the log how a long transfer goes: bytes, share, speed; at most every five seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

INTERVAL_S = 5.0
_MEGABYTE = 1_000_000


class Progress:
    """Counts the bytes of one transfer.

    :param what: Name for the log, such as ``send-message``.
    :param total: Bytes to come, where it is known.
    :param log: The logger.
    :param clock: Monotonic seconds.
    """

    def __init__(
        self, what: str, total: int | None, log: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._total = total
        self._log = log
        self._clock = clock
        self._started = self._told = clock()
        self._done = 0

    def moved(self, count: int) -> None:
        """Note that ``count`` more bytes have gone."""
        self._done += count
        now = self._clock()
        if now - self._told < INTERVAL_S:
            return
        self._told = now
        speed = self._done / (now - self._started) / _MEGABYTE
        share = f" ({self._done / self._total:.0%})" if self._total else ""
        self._log.info("%s: %.1f MB%s, %.1f MB/s", self._what, self._done / _MEGABYTE, share, speed)
