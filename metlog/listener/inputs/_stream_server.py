"""A server for connections that carry frames one way: TCP, TLS and Unix streams. Nothing is answered."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from msgspec import Struct

from metlog.core.hosts import host_port
from metlog.listener.inputs._framing import BEGINNING, Framing, FramingError
from metlog.listener.inputs._heartbeat import Heartbeat

__all__ = ["StreamLimits", "StreamServer", "peer_name"]

log = logging.getLogger("metlog.listener")

_CHUNK: Final = 1 << 18
"""Bytes read of a connection at once; its frames go to the sink together."""
_BACKLOG: Final = 1024
"""Connections accepted in one go: what the kernel holds at most."""
_BEAT: Final = 0.5
"""Seconds between two turns of the event loop, at most."""

Take = Callable[[Sequence[bytes], str], None]
"""Takes the frames of one read and the name of their source; blocks until they are journaled."""
Reject = Callable[[bytes, str, str], None]
"""Takes bytes that are no frame, their source, and the reason."""


class StreamLimits(Struct, frozen=True, kw_only=True):
    """What a peer may take; times in seconds."""

    connections: int = 512
    handshake_timeout: float = 10.0
    idle_timeout: float = 3600.0
    """Between two frames."""
    frame_timeout: float = 60.0
    """From the first byte of a frame to its last."""
    grace: float = 3.0
    """At the end: how long what the kernel still holds of open connections is read."""


class StreamServer:
    """Accepts connections on one socket, in a thread with an event loop of its own.

    While the sink takes the frames of a connection, nothing more of that connection is read: a full or slow disk makes
    its peer wait.
    """

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        make_framing: Callable[[], Framing],
        take: Take,
        reject: Reject,
        limits: StreamLimits,
        tls: ssl.SSLContext | None = None,
        source: Callable[[object], str] = lambda peer: "",
    ) -> None:
        self._sock = sock
        self._name = name
        self._make_framing = make_framing
        self._take = take
        self._reject = reject
        self._limits = limits
        self._tls = tls
        self._source = source
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = ThreadPoolExecutor(8, thread_name_prefix=f"metlog-{name}-work")
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"metlog-{name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._stopping = False
        self._handed_over = False
        self._heart = Heartbeat(self._thread, name)
        self.counts: Counter[str] = Counter(
            dict.fromkeys(
                ("frames", "bytes", "connections", "refused", "timeouts", "handshakes_failed", "cut", "oversized"), 0
            )
        )
        """`frames`, `bytes`, `connections`; `refused` (beyond the limit), `timeouts`, `handshakes_failed`, `cut`
        (connections that ended within a frame, or whose bytes could not be framed), `oversized` frames."""

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._tasks)

    def start(self) -> None:
        self._sock.setblocking(False)
        self._thread.start()
        self._started.wait()

    def stop(self, *, handed_over: bool = False) -> None:
        """Accepts no more, reads what connections still hold for `grace` seconds, and closes them.

        Connections that were made and not yet accepted are read as well, unless another server goes on with the socket.
        """
        self._handed_over = handed_over
        if self._thread.is_alive() and self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        self._workers.shutdown()

    def health(self) -> str:
        return self._heart.health()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._listen()
        self._started.set()
        while not self._ended.is_set():
            self._heart.beat()
            try:
                async with asyncio.timeout(_BEAT):
                    await self._ended.wait()
            except TimeoutError:
                pass
        self._stopping = True
        self._loop.remove_reader(self._sock)
        if not self._handed_over:
            self._accept()  # the last time; where the socket was handed over, its next owner does
        self._sock.close()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=self._limits.grace)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _listen(self) -> None:
        if not self._stopping:
            asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        """Accepts the connections that the kernel holds."""
        loop = asyncio.get_running_loop()
        for _ in range(_BACKLOG):
            try:
                client, peer = self._sock.accept()
            except BlockingIOError:
                return
            except (InterruptedError, ConnectionAbortedError):  # gone before it was accepted
                continue
            except OSError as error:  # out of descriptors or memory: the peers that are served must end first
                log.warning("%s: cannot accept: %s", self._name, error)
                loop.remove_reader(self._sock)
                loop.call_later(0.5, self._listen)
                return
            if len(self._tasks) >= self._limits.connections:
                self.counts["refused"] += 1
                client.close()
                continue
            self.counts["connections"] += 1
            task = loop.create_task(self._connection(client, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connection(self, client: socket.socket, peer: object) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_CHUNK, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        timeout = self._limits.handshake_timeout if self._tls else None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, client, ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.counts["handshakes_failed"] += 1
            log.debug("%s: handshake with %s failed: %s", self._name, peer, error)
            client.close()
            return
        frames = self._make_framing()
        source = self._source(peer)
        reason = "cut: the connection ended within a frame"
        most: int | None = None
        try:
            await self._receive(reader, frames, source)
        except (ConnectionError, ssl.SSLError):
            pass
        except TimeoutError:
            self.counts["timeouts"] += 1
            if not self._stopping:
                reason = f"cut: the rest of the frame did not come within {self._limits.frame_timeout:g} s"
        except FramingError as error:
            reason, most = f"cannot be framed: {error}", BEGINNING
        finally:
            transport.abort()
        if rest := frames.rest():
            self.counts["cut"] += 1
            await loop.run_in_executor(self._workers, self._reject, rest[:most], source, reason)

    async def _receive(self, reader: asyncio.StreamReader, frames: Framing, source: str) -> None:
        """Until the connection ends. Raises TimeoutError, and FramingError when its bytes cannot be cut any further."""
        loop = asyncio.get_running_loop()
        limits = self._limits
        begun = 0.0  # when the frame that is incomplete began
        while True:
            seconds = begun + limits.frame_timeout - loop.time() if frames.pending else limits.idle_timeout
            async with asyncio.timeout(_BEAT / 2 if self._stopping else seconds):
                data = await reader.read(_CHUNK)
            if not data:
                return
            had, ended, oversized = frames.pending, frames.ended, frames.oversized
            found: list[bytes] = []
            fault: FramingError | None = None
            try:
                for frame in frames.feed(data):
                    found.append(frame)  # noqa: PERF402 - what came before a fault counts
            except FramingError as error:
                fault = error
            self.counts["bytes"] += len(data)
            self.counts["frames"] += len(found)
            self.counts["oversized"] += frames.oversized - oversized
            if found or frames.oversized > oversized:
                await loop.run_in_executor(self._workers, self._hand_on, found, frames.skipped(), source)
            if fault is not None:
                raise fault
            if not had or frames.ended > ended:
                begun = loop.time()  # after the sink took the others: what it takes is not the peer's time

    def _hand_on(self, found: Sequence[bytes], skipped: Sequence[bytes], source: str) -> None:
        """Gives the sink the frames of a read, and the beginnings of those that were too long."""
        if found:
            self._take(found, source)
        for beginning in skipped:
            self._reject(beginning, source, "oversized: a line longer than max_frame")


def peer_name(scheme: str) -> Callable[[object], str]:
    """Returns what names an IP peer as a source: `tcp://192.0.2.7:40112`."""

    def name(peer: object) -> str:
        host, port = peer[:2] if isinstance(peer, tuple) else (str(peer), 0)
        return f"{scheme}://{host_port(host, port)}"

    return name
