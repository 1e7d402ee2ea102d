"""A stand-in for Bagheera 0.15, with its table of answers (its source, `SubmissionHandler`, `HttpSecurityHandler`)."""

from __future__ import annotations

import gzip
import re
import threading
import uuid
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

__all__ = ["Bagheera", "Submission"]

_PATH = re.compile(r"(?:/1\.0)?/submit/([^/]+)(?:/([^/]+)(?:/.*)?)?")


class Submission(NamedTuple):
    """A message that a consumer of Bagheera's would get."""

    namespace: str
    id: str
    body: bytes
    headers: dict[str, str]


class Bagheera(ThreadingHTTPServer):
    """Keeps what it took in `taken`, and every status in `statuses`."""

    daemon_threads = True

    def __init__(self, *, namespaces: tuple[str, ...] = ("metlog",), max_content_length: int = 1_048_576) -> None:
        self.taken: list[Submission] = []
        self.statuses: list[int] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def answer(self, status: int, body: str = "") -> None:
                outer.statuses.append(status)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")  # after each answer
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body.encode())
                self.close_connection = True

            def submit(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                if length > max_content_length:  # as it comes over the wire, compressed or not
                    self.answer(413)
                    return
                body = self.rfile.read(length)
                found = _PATH.fullmatch(self.path.partition("?")[0])
                if found is None or found[1] not in namespaces or not _is_id(found[2]):
                    self.answer(404)
                    return
                if not body:
                    self.answer(400)
                    return
                ident = found[2] or str(uuid.uuid4())
                outer.taken.append(Submission(found[1], ident, self.unpacked(body), dict(self.headers)))
                self.answer(201, ident)

            def unpacked(self, body: bytes) -> bytes:
                encoding = self.headers.get("Content-Encoding", "")
                if encoding == "gzip":
                    return gzip.decompress(body)
                if encoding == "deflate" or self.headers.get("Content-Type") == "application/json+zlib":
                    return zlib.decompress(body)
                return body

            do_POST = do_PUT = submit

            def do_GET(self) -> None:
                self.answer(403)

            do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()


def _is_id(text: str | None) -> bool:
    try:
        return text is None or str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
