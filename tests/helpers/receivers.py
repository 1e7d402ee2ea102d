"""Receivers that keep everything that arrives, one for each sender, and what must hold for it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from metlog.testing.peers import StreamPeer

SO_RCVBUFFORCE = 33


class Seen(msgspec.Struct, gc=False):
    """What the tests look at of an event that arrived."""

    type: str
    stream: str
    seq: int
    payload: str = ""
    pid: int = 0
    fields: dict[str, Any] = {}


_lines = msgspec.json.Decoder(Seen).decode_lines


# ---- receivers -------------------------------------------------------------------------------------------------------


class Receiver:
    """Keeps what arrives. `sender` is the table that `configure` takes; `parts` has one item a source (socket, file)."""

    def __init__(self, sender: dict[str, Any]) -> None:
        self.sender = sender

    def parts(self) -> list[bytes]:
        raise NotImplementedError

    def seen(self) -> list[Seen]:
        """Every event so far."""
        return [event for part in self.parts() for event in _lines(part)]

    def wait_for(self, enough: Callable[[list[Seen]], bool], seconds: float = 20.0) -> list[Seen]:
        """Everything, once there is enough; what there is when the time is over."""
        end = time.monotonic() + seconds
        while True:
            seen = self.seen()
            if enough(seen) or time.monotonic() > end:
                return seen
            time.sleep(0.02)

    def application(self, count: int, seconds: float = 20.0) -> list[Seen]:
        """The application's own events, once so many have arrived."""
        self.wait_for(lambda seen: sum(not own(event) for event in seen) >= count, seconds)
        time.sleep(0.05)  # one that is sent twice comes late
        return [event for event in self.seen() if not own(event)]


class _Datagrams(Receiver):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        bound = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        with contextlib.suppress(OSError):  # only root may have more than the machine's limit
            bound.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        bound.bind(("127.0.0.1", 0))
        super().__init__({"name": "udp", "host": "127.0.0.1", "port": bound.getsockname()[1]})
        self._socket = bound
        self._by_source: dict[Any, list[bytes]] = {}
        self._stop = False
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        stack.callback(thread.join, 5)
        stack.callback(self._end)

    def _run(self) -> None:
        while True:
            frame, source = self._socket.recvfrom(1 << 16)
            if self._stop:
                return
            self._by_source.setdefault(source, []).append(frame)

    def _end(self) -> None:
        self._stop = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())

    def parts(self) -> list[bytes]:
        return [b"".join(list(frames)) for frames in list(self._by_source.values())]


class _Stream(Receiver):
    def __init__(self, stack: contextlib.ExitStack, path: str | None) -> None:
        self._peer = stack.enter_context(StreamPeer(path) if path else StreamPeer())
        if path:
            super().__init__({"name": "unix", "path": path, "kind": "stream"})
        else:
            super().__init__({"name": "tcp", "host": "127.0.0.1", "port": self._peer.port})

    def parts(self) -> list[bytes]:
        return [bytes(stream[: stream.rfind(b"\n") + 1]) for stream in list(self._peer.streams)]


class _Zmq(Receiver):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        import zmq

        context = zmq.Context()
        stack.callback(context.term)
        puller = context.socket(zmq.PULL)
        puller.setsockopt(zmq.RCVHWM, 0)
        port = puller.bind_to_random_port("tcp://127.0.0.1")
        super().__init__({"name": "zmq", "endpoint": f"tcp://127.0.0.1:{port}"})
        self._frames: list[bytes] = []
        self._stop = False
        thread = threading.Thread(target=self._run, args=(puller,), daemon=True)
        thread.start()
        stack.callback(thread.join, 5)
        stack.callback(setattr, self, "_stop", True)

    def _run(self, puller: Any) -> None:
        with puller:
            while not self._stop:
                if puller.poll(50):
                    self._frames.append(puller.recv())

    def parts(self) -> list[bytes]:
        return list(self._frames)


class _Http(Receiver):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        frames: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                frames.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        server = stack.enter_context(Server(("127.0.0.1", 0), Handler))
        super().__init__({"name": "http", "port": server.server_address[1], "compression": "none"})
        self._frames = frames
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        stack.callback(server.shutdown)

    def parts(self) -> list[bytes]:
        return list(self._frames)


class _File(Receiver):
    def __init__(self, path: Path) -> None:
        super().__init__({"name": "file", "path": str(path)})
        self._path = path

    def parts(self) -> list[bytes]:
        data = self._path.read_bytes() if self._path.exists() else b""
        return [data[: data.rfind(b"\n") + 1]]


@contextlib.contextmanager
def receiver(kind: str, folder: Path) -> Iterator[Receiver]:
    """A receiver for the sender of that name: udp, tcp, unix, zmq, http, file."""
    with contextlib.ExitStack() as stack:
        if kind == "udp":
            yield _Datagrams(stack)
        elif kind in {"tcp", "unix"}:
            yield _Stream(stack, str(folder / "s.sock") if kind == "unix" else None)
        elif kind == "zmq":
            yield _Zmq(stack)
        elif kind == "http":
            yield _Http(stack)
        else:
            assert kind == "file"
            yield _File(folder / "events.ndjson")


# ---- what must hold --------------------------------------------------------------------------------------------------


def own(event: Seen) -> bool:
    """Whether it is one of metlog's own (`metlog.end`, `metlog.report`)."""
    return event.type.startswith("metlog.")


def assert_exactly_once(seen: Iterable[Seen], payloads: Iterable[str]) -> None:
    """The application's events are exactly those with these payloads, each once, and no (stream, seq) comes twice."""
    events = list(seen)
    arrived = Counter(event.payload for event in events if not own(event))
    expected = Counter(payloads)
    missing, extra = expected - arrived, arrived - expected
    assert not missing, f"{missing.total()} of {expected.total()} did not arrive: {sorted(missing)[:10]}"
    assert not extra, f"{extra.total()} too many: {sorted(extra)[:10]}"
    twice = [key for key, count in Counter((event.stream, event.seq) for event in events).items() if count > 1]
    assert not twice, f"sent twice: {twice[:10]}"


def streams(seen: Iterable[Seen]) -> dict[str, list[Seen]]:
    """The events of each stream, as they arrived."""
    found: dict[str, list[Seen]] = {}
    for event in seen:
        found.setdefault(event.stream, []).append(event)
    return found


def assert_streams_end(seen: Iterable[Seen], interrupted: int = 0) -> None:
    """Every stream counts from 1 without a gap, and closes with `metlog.end`, which says its last seq and no drops.

    `interrupted`: what a signal handler raised may have cut off a call, or a frame of as many events: the last ones are missing, or
    counted as dropped, or both.
    """
    for stream, events in streams(seen).items():
        seqs = sorted(event.seq for event in events)
        (end,) = [event for event in events if event.type == "metlog.end"]
        assert end.seq == seqs[-1]
        dropped = end.fields["dropped"]
        assert end.fields == {"last_seq": end.seq - 1, "dropped": dropped}
        assert sum(dropped.values()) <= interrupted
        missing = set(range(1, end.seq)) - set(seqs)
        assert missing <= set(range(end.seq - interrupted, end.seq)), f"{stream}: {sorted(missing)[:20]} of {end.seq}"
        assert len(seqs) == len(set(seqs))
