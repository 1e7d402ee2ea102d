"""Several senders in order of preference: the next one when one fails."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from metlog.encoders import BaseEncoder
from metlog.errors import Problems, SenderError
from metlog.plugins import Component, check
from metlog.plugins.conversion import Seconds
from metlog.senders import BaseSender
from metlog.senders.options import NotPicklable, closed, positive

__all__ = ["FallbackSender"]


class FallbackSender(NotPicklable):
    """Sends each frame with the first sender that takes it.

    senders
        Names, URLs or tables, best first.
    pause
        Seconds that a sender is left alone after it failed: the others take the frames meanwhile. It is asked all the same for
        a frame that none of them takes.

    A frame that no sender takes raises what the last one raised. The limits (`max_frame`, `max_event`) are the
    tightest of all; behind a queue unless none of them ever waits.

    >>> sender = FallbackSender(senders=["tcp://127.0.0.1:5565?timeout=2", "file:/tmp/spool.ndjson"])
    >>> sender.close()
    """

    def __init__(self, *, senders: list[Any], pause: Seconds = 30.0) -> None:
        positive("pause", pause, "seconds")
        if not senders:
            raise ValueError("senders = []: wants two or more senders, best first")
        self.pause = pause
        self.parts: list[Component] = []
        self.senders: list[BaseSender] = []
        problems = Problems()
        for index, spec in enumerate(senders):
            where = f"senders[{index}]"
            with problems.catch(where):
                component = check("sender", spec, where)
                sender = component.prepare()
                if sender.fans_out:
                    problems.add(
                        f"{where} = {component.name!r}: takes events, not frames; put the fallback into a branch of it"
                    )
                    continue
                self.senders.append(sender)
                self.parts.append(component)
        if problems.lines:
            self._each(lambda sender: sender.close())
        problems.check()
        self.max_frame = min(sender.max_frame for sender in self.senders)
        limits = [limit for sender in self.senders if (limit := sender.max_event) is not None]
        self.max_event = min(limits, default=None)
        self.nonblocking = all(sender.nonblocking for sender in self.senders)
        self.used: list[int] = [0] * len(self.senders)
        """Frames that each of them took."""
        self._not_before = [0.0] * len(self.senders)
        self._closed = False

    def open(self) -> None:
        """Opens every sender, or none of them; raises ConfigError."""
        try:
            for component in self.parts:
                component.open()
        except BaseException:
            self.close()
            raise

    def send(self, frame: bytes) -> None:
        """Sends with the first that can: those in their pause come last. Raises what the last of all raised when none can."""
        now = monotonic()
        paused = [index for index, end in enumerate(self._not_before) if end > now]
        ready = [index for index in range(len(self.senders)) if index not in paused]
        error: Exception | None = None
        last = -1
        for index in (*ready, *paused):
            if self._closed:
                raise closed(self)
            try:
                self.senders[index].send(frame)
            except Exception as failed:  # noqa: BLE001 - a sender may raise anything
                self._not_before[index] = monotonic() + self.pause
                if index > last:
                    last, error = index, failed
            else:
                self._not_before[index] = 0.0
                self.used[index] += 1
                return
        raise error if isinstance(error, SenderError) else SenderError(f"no sender took it: {error!r}") from error

    def flush(self) -> None:
        """Flushes every sender; raises what the first that failed raised, once all had their turn."""
        self._each(lambda sender: sender.flush())

    def deadline(self, seconds: float) -> None:
        """Passes the time that is left on to each sender."""
        self._each(lambda sender: sender.deadline(seconds))

    def close(self) -> None:
        """Closes every sender; raises what the first that failed raised, once all are closed."""
        self._closed = True
        self._each(lambda sender: sender.close())

    def stats(self) -> dict[str, int]:
        """`senders[N]`: frames that each sender took; `senders[N].KEY`: what that sender counts itself."""
        found = {f"senders[{index}]": used for index, used in enumerate(self.used)}
        for index, sender in enumerate(self.senders):
            for key, count in sender.stats().items():
                found[f"senders[{index}].{key}"] = count
        return found

    def on_loss(self, lost: Callable[[str, int], None]) -> None:
        """Passes on whom to tell of losses that a sender learns of later."""
        self._each(lambda sender: sender.on_loss(lost))

    def encoded_by(self, encoder: BaseEncoder) -> None:
        """Passes on which encoder makes the frames."""
        self._each(lambda sender: sender.encoded_by(encoder))

    def isatty(self) -> bool:
        """Returns whether every sender writes to a terminal: a frame is the same for all of them."""
        return all([sender.isatty() for sender in self.senders])

    def after_fork(self) -> None:
        """Passes it on to every sender."""
        self._each(lambda sender: sender.after_fork())

    def _each(self, call: Callable[[BaseSender], None]) -> None:
        error: Exception | None = None
        for sender in self.senders:
            try:
                call(sender)
            except Exception as failed:  # noqa: BLE001 - the others must have their turn
                error = error or failed
        if error is not None:
            raise error
