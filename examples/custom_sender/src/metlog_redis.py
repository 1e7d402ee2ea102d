"""A sender for metlog: each frame becomes an entry of a Redis stream."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from metlog import SenderError


class RedisSender:
    """Appends frames to the Redis stream `stream`, which keeps about the last `maxlen` of them."""

    max_frame = 65536

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 6379, stream: str = "metlog", maxlen: int = 100_000,
        timeout: float = 2.0,
    ) -> None:  # fmt: skip
        if maxlen < 1:
            raise ValueError(f"maxlen = {maxlen}: wants 1 or more entries")
        self._stream, self._maxlen, self._closed = stream, maxlen, False
        once_more = Retry(
            NoBackoff(), 1, supported_errors=(redis.ConnectionError,)
        )  # the server was restarted meanwhile
        self._redis = redis.Redis(
            host=host, port=port, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once_more
        )

    def send(self, frame: bytes) -> None:
        """Returns when the server has the frame; raises SenderError when it is lost."""
        if self._closed:
            raise SenderError("closed", reason="closed")
        try:
            self._redis.xadd(self._stream, {"frame": frame}, maxlen=self._maxlen, approximate=True)
        except redis.RedisError as error:
            raise SenderError(f"{type(error).__name__}: {error}", reason="redis_error") from error

    def flush(self) -> None:
        """Nothing to do: what `send` took is there."""

    def close(self) -> None:
        """Ends the connection, under a `send` in another thread too: that one raises then."""
        self._closed = True
        self._redis.close()

    def __reduce__(self) -> str:
        raise TypeError("a RedisSender cannot be pickled: it holds a connection")
