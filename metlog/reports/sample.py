"""A data folder full of plausible events: a small shop with visitors, logins, counters, timers, errors and a lossy day.

The events are those that a service sends through metlog: requests as the middleware logs them, logins as its helpers do, counters and
timers as events or as lines of statsd that the listener took in. The same seed gives the same events. Everything is drawn from hashes
inside DuckDB, a day at a time, so that a month takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb

from metlog.journal.folder import Folder
from metlog.lake.parquet import Parquet
from metlog.lake.promotion.choice import Promotion
from metlog.lake.storage import FolderStorage

__all__ = ["fill"]

_HOURS: Final = [8, 5, 3, 2, 2, 4, 10, 22, 38, 50, 56, 60, 66, 62, 55, 52, 54, 60, 68, 74, 70, 52, 32, 16]
"""Visitors an hour, out of a day, in proportion."""

_WEEK: Final = [1.0, 1.05, 1.04, 1.02, 0.98, 0.72, 0.66]
"""Traffic by weekday, Monday first."""

# (method, route, share of requests, median ms, spread of its logarithm)
_ROUTES: Final = [
    ("GET", "/", 30, 11.0, 0.35),
    ("GET", "/search", 22, 46.0, 0.60),
    ("GET", "/product/{id}", 26, 24.0, 0.45),
    ("POST", "/cart", 10, 31.0, 0.40),
    ("POST", "/checkout", 5, 118.0, 0.55),
    ("POST", "/login", 5, 83.0, 0.25),
    ("GET", "/account", 1.6, 37.0, 0.40),
    ("GET", "/invoices", 0.4, 390.0, 0.50),
]

_SQL: Final = """
WITH u AS (  -- hashed twice: the hash of several values is their hashes XORed, so that two draws would go together
    SELECT i, hash(hash(i, $seed, 1)) / 18446744073709551616.0 AS a, hash(hash(i, $seed, 2)) / 18446744073709551616.0 AS b,
           hash(hash(i, $seed, 3)) / 18446744073709551616.0 AS c, hash(hash(i, $seed, 4)) / 18446744073709551616.0 AS d,
           hash(hash(i, $seed, 5)) / 18446744073709551616.0 AS e, hash(hash(i, $seed, 6)) / 18446744073709551616.0 AS f
    FROM range($first, $first + $number) t(i)
), more AS (
    SELECT i, hash(hash(i, $seed, 7)) / 18446744073709551616.0 AS g, hash(hash(i, $seed, 8)) / 18446744073709551616.0 AS k
    FROM range($first, $first + $number) t(i)
), visits AS (
    SELECT i, a, c, f, g, k, sqrt(-2 * ln(greatest(d, 1e-12))) * cos(2 * pi() * e) AS z,
           $day::TIMESTAMPTZ + to_microseconds(CAST((h.hour + (b - h.low) / (h.high - h.low)) * 3.6e9 AS BIGINT)) AS moment,
           1 + CAST(floor(pow(c, 1.8) * $users) AS INTEGER) AS user
    FROM u JOIN more USING (i) JOIN hours h ON b >= h.low AND b < h.high
), requests AS (
    SELECT v.*, r.method, r.route,
           round(r.ms * exp(r.spread * z) * $slow * CASE r.route WHEN '/search' THEN $index ELSE 1 END
                 * CASE WHEN g > 0.992 THEN 5 ELSE 1 END, 3) AS ms,
           CASE WHEN f < $broken * CASE r.route WHEN '/checkout' THEN 6 ELSE 1 END THEN 500
                WHEN r.route = '/product/{id}' AND f > 0.97 THEN 404
                WHEN r.route = '/login' AND f > 1 - $refused THEN 401 WHEN r.method = 'POST' AND f > 0.6 THEN 302 ELSE 200 END AS status,
           CASE WHEN k < 0.6 THEN 'TimeoutError' WHEN k < 0.85 THEN 'ConnectionResetError' ELSE 'KeyError' END AS exception
    FROM visits v JOIN routes r ON CASE WHEN k < $guessing THEN r.route = '/login' ELSE a >= r.low AND a < r.high END
), said AS (  -- worker NULL: from the statsd input
    SELECT i, i % 4 AS worker, moment, 'request' AS type, ['request', method] AS tokens, CASE status WHEN 500 THEN 3 ELSE 6 END AS severity,
           method || ' ' || route || ' ' || status AS payload,
           '{' || CASE WHEN route IN ('/', '/search') AND g < 0.5 THEN '' ELSE '"user":"u' || user || '",' END
               || '"method":"' || method || '","route":"' || route || '","status":' || status || ',"ms":' || ms
               || ',"bytes":' || CAST(400 + 9000 * k AS INTEGER)
               || CASE status WHEN 500 THEN ',"error":"' || exception || '"' ELSE '' END || '}' AS fields,
           1.0 AS weight
    FROM requests
    UNION ALL
    SELECT i, i % 4, moment - INTERVAL 1 MILLISECOND, 'login', ['login', CASE status WHEN 401 THEN 'failure' ELSE 'success' END],
           CASE status WHEN 401 THEN 5 ELSE 6 END, '',
           CASE status WHEN 401 THEN '{"success":false,"user":"u' || user || '","reason":"password"}'
                       ELSE '{"user":"u' || user || '","success":true}' END, 1.0
    FROM requests WHERE route = '/login' AND status <> 500
    UNION ALL
    SELECT i, i % 4, moment - INTERVAL 2 MILLISECOND, 'oldstyle', ['oldstyle'], 3, 'the payment of order ' || (i % 100000) || ' failed',
           '{"user":"u' || user || '","exception_type":"' || exception || '","exception_message":"no answer from the provider"}', 1.0
    FROM requests WHERE status = 500 AND route = '/checkout'
    UNION ALL  -- sampled: each one stands for ten
    SELECT i, i % 4, moment - INTERVAL 3 MILLISECOND, 'counter', ['counter', 'cache.hit'], 6, '1', '{"name":"cache.hit","count":1}', 10.0
    FROM requests WHERE method = 'GET' AND k > 0.93
    UNION ALL
    SELECT i, i % 4, moment - INTERVAL 4 MILLISECOND, 'timer', ['timer', 'db.query'], 6, '' || round(ms * 0.4, 3),
           '{"name":"db.query","ms":' || round(ms * 0.4, 3) || '}', 1.0
    FROM requests WHERE route <> '/' AND k < 0.3
    UNION ALL
    SELECT i, NULL, moment + INTERVAL 1 MILLISECOND, 'counter', ['counter', name], 6, '1', '{"name":"' || name || '","count":1}', 1.0
    FROM (
        SELECT i, moment, unnest(list_filter([
            'request.' || method || '.' || status,
            CASE WHEN route = '/cart' AND status < 400 THEN 'cart.add' WHEN route = '/checkout' AND status < 400 THEN 'orders'
                 WHEN route = '/login' AND status < 400 THEN 'login.success' WHEN route = '/login' AND status = 401 THEN 'login.failure' END
        ], lambda x: x IS NOT NULL)) AS name FROM requests
    )
    UNION ALL
    SELECT i, NULL, moment + INTERVAL 1 MILLISECOND, 'timer', ['timer', 'request.' || method], 6, '' || ms,
           '{"name":"request.' || method || '","ms":' || ms || '}', 1.0
    FROM requests
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY worker ORDER BY moment, i, type, fields) AS seq
    FROM said WHERE moment < $until::TIMESTAMPTZ
), lost AS (  -- on the lossy day, around noon, the socket's buffer is full again and again: a request's events travel together
    SELECT * FROM numbered
    WHERE $lossy AND worker IS NOT NULL AND hour(moment) = 12 AND minute(moment) BETWEEN 10 AND 49
      AND hash(hash(i, $seed, 9)) / 18446744073709551616.0 < 0.35 * (1 - abs(minute(moment) - 30) / 20.0)
), ended AS (
    SELECT * FROM numbered WHERE NOT EXISTS (FROM lost WHERE lost.worker = numbered.worker AND lost.seq = numbered.seq)
    UNION ALL  -- what the listener says of it, worker -1
    SELECT 0, -1, date_trunc('minute', moment) + INTERVAL 1 MINUTE AS told, 'metlog.drops', ['metlog.drops'], 4,
           'the kernel dropped ' || count(DISTINCT i) || ' datagrams for udp://10.0.0.9:5565',
           '{"input":"udp","socket":"udp://10.0.0.9:5565","kernel_drops":' || count(DISTINCT i) || '}', 1.0, 0
    FROM lost GROUP BY told
    UNION ALL
    SELECT 0, worker, max(moment) + INTERVAL 1 SECOND, 'metlog.end', ['metlog.end'], 6, '',
           '{"last_seq":' || max(seq) || ',"dropped":{}}', 1.0, max(seq) + 1
    FROM numbered WHERE worker IS NOT NULL GROUP BY worker
)
SELECT moment AS timestamp, type, tokens, CASE WHEN worker IS NULL THEN '' WHEN worker < 0 THEN 'metlog.listener' ELSE 'shop' END AS logger,
       severity, payload, fields, weight, '1' AS env_version,
       CASE WHEN worker IS NULL THEN 0 WHEN worker < 0 THEN 812 ELSE 4100 + worker END AS pid,
       CASE WHEN worker IS NULL THEN '' WHEN worker < 0 THEN 'collector' ELSE 'web-' || (1 + worker % 2) END AS hostname,
       CASE WHEN worker >= 0 THEN substr(md5($day || $seed || worker), 1, 16) ELSE '' END AS stream,
       CASE WHEN worker >= 0 THEN seq ELSE 0 END AS seq, moment + INTERVAL 40 MILLISECOND AS received_at,
       CASE WHEN worker IS NULL THEN 'statsd://10.0.0.11' WHEN worker < 0 THEN 'listener://' ELSE 'udp://10.0.0.' || (11 + worker % 2) END
           AS source, NULL::TIMESTAMPTZ AS claimed_timestamp
FROM ended
ORDER BY timestamp, stream, seq, type, fields
"""


def fill(
    data: Path | str,
    days: int = 30,
    seed: int = 1,
    *,
    per_day: int = 8_000,
    until: datetime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes `days` days of events that end at `until` (now, if not given) into the data folder; returns their number.

    per_day: requests on an average day; about 3.5 events each. progress: called with days done and days in all. A second call with
    the same days replaces the files of the first. Raises ValueError when `days` is not positive.
    """
    if days < 1:
        raise ValueError(f"days = {days}: wants 1 or more")
    end = (until or datetime.now(UTC)).astimezone(UTC)
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    _tables(connection)
    Path(data).mkdir(parents=True, exist_ok=True)
    written = 0
    with Folder.root(Path(data)) as root:
        how = Parquet(promotion=Promotion(FolderStorage(root)))
        for number in range(days):
            day = end.date() - timedelta(days=days - 1 - number)
            table = connection.sql(_SQL, params=_day(day, number, days, seed, per_day, end)).to_arrow_table()
            if table.num_rows:
                folder = Path(data) / "events" / f"date={day.isoformat()}"
                folder.mkdir(parents=True, exist_ok=True)
                file = how.grow()
                file.write(table)
                temporary = folder / f".sample-{seed}.tmp"
                temporary.write_bytes(file.close())
                temporary.replace(folder / f"sample-{seed}.parquet")
                written += table.num_rows
            if progress is not None:
                progress(number + 1, days)
    return written


def _tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Shares as ranges of 0 to 1, to draw from."""
    connection.execute(
        "CREATE TABLE hours AS SELECT i - 1 AS hour, list_sum(list_slice($1, 1, i)) / list_sum($1) AS high,"
        " high - $1[i] / list_sum($1) AS low FROM range(1, 25) t(i)",
        [_HOURS],
    )
    connection.execute(
        "CREATE TABLE routes (method VARCHAR, route VARCHAR, ms DOUBLE, spread DOUBLE, low DOUBLE, high DOUBLE)"
    )
    low = 0.0
    total = sum(share for _, _, share, _, _ in _ROUTES)
    for method, route, share, ms, spread in _ROUTES:
        connection.execute(
            "INSERT INTO routes VALUES ($1, $2, $3, $4, $5, $6)", [method, route, ms, spread, low, low + share / total]
        )
        low += share / total


def _day(day: date, number: int, days: int, seed: int, per_day: int, end: datetime) -> dict[str, object]:
    progress = number / max(days - 1, 1)
    growth = 0.75 + 0.5 * progress
    wobble = 1 + 0.06 * (((day.toordinal() * 2654435761 + seed) % 1000) / 500 - 1)
    left = days - number  # the events of the story lie at the same distance from today
    requests = max(1, int(per_day * _WEEK[day.weekday()] * growth * wobble))
    return {
        "day": day.isoformat(),
        "seed": seed,
        "first": day.toordinal() * 10_000_000,
        "number": requests,
        "users": max(1, int(per_day * growth / 3)),
        "until": end.isoformat(),
        "slow": 1.9 if left == 9 else 1.0,  # a bad release
        "broken": 0.06 if left == 9 else 0.002,
        "index": 0.8 + 0.9 * progress,  # searching takes longer as there is more to be found
        "refused": 0.55 if left == 16 else 0.07,  # somebody tries passwords
        "guessing": 0.07 if left == 16 else 0.0,
        "lossy": left == 5,
    }
