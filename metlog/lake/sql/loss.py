"""What `lost` means, as SQL: the one text behind the view `delivery`, the report of that name and the overview of the page.

Of each client stream, which numbers its events from 1:

- lost: a number that is missing between the first and the last that are known; where the end record came, up to the number that it tells
- unconfirmed tail: of a stream without an end record, what it sent after the last that came is not known
- before the first: numbers below the first that came, which are in no file (any more), or of a time that was not asked for
- refused: what came and was not taken; it is a dead letter, or told to who sent it, and stands in none of these counts but as `lost`
"""

from __future__ import annotations

from typing import Final

__all__ = ["DELIVERY", "LOSS_BY_LOGGER", "streams"]

_WITHIN: Final = "timestamp >= $since AND timestamp < $until AND "


def streams(*, within: bool, prefix: str = "") -> str:
    """The common table expressions `words`, `ends`, `spans` and `numbers`, their names behind `prefix`. `spans` has a row a
    stream: `stream`, `logger`, `hostname`, `pid`, `first_at`, `last_at`, `events`, `before_first`, `first_seq`, `upto`, `ended`, `dropped`;
    `numbers` has `stream`, `got` (different numbers) and `got_inside`, of those from `first_seq` to `upto`.

    within: only events from `$since` up to `$until`. An event at the very edge may be numbered before its neighbour outside, so numbers
    are missing only between those that are a second away from it, unless the edge is now, or a stream has no others in between.
    """
    where = _WITHIN if within else ""
    inside = "min(seq) FILTER (timestamp >= $since + INTERVAL 1 SECOND)" if within else "min(seq)"
    last = (
        "max(seq) FILTER (timestamp < $until - INTERVAL 1 SECOND OR $until > now() - INTERVAL 1 MINUTE)"
        if within
        else "max(seq)"
    )
    return f"""
{prefix}words AS (  -- one pass over the events; a bit a number is many times cheaper than counting distinct ones
    SELECT stream, seq >> 6 AS word, bit_or(CAST(1 AS UBIGINT) << CAST(seq & 63 AS UBIGINT)) AS bits, count(*) AS events,
           min(seq) AS lowest, max(seq) AS highest, {inside} AS first_inside,
           {last} AS last_inside,
           min(timestamp) AS first_at, max(timestamp) AS last_at, any_value(logger) AS logger, any_value(hostname) AS hostname,
           any_value(pid) AS pid
    FROM events
    WHERE {where}seq > 0 AND stream <> ''
    GROUP BY stream, word
), {prefix}ends AS (  -- a range of types lets the scan leave out `fields` of all other events, as a list does not
    SELECT stream, bool_or(type = 'metlog.end') AS ended, CAST(arg_max(fields->'dropped', seq) AS VARCHAR) AS dropped,
           max(CASE WHEN type = 'metlog.end' THEN TRY_CAST(fields->>'last_seq' AS BIGINT) END) AS last_seq
    FROM events
    WHERE {where}type BETWEEN 'metlog.end' AND 'metlog.report' AND type IN ('metlog.end', 'metlog.report')
      AND seq > 0 AND stream <> ''
    GROUP BY stream
), {prefix}whole AS (
    SELECT stream, any_value(logger) AS logger, any_value(hostname) AS hostname, any_value(pid) AS pid, min(first_at) AS first_at,
           max(last_at) AS last_at, CAST(sum(events) AS BIGINT) AS events, min(lowest) AS lowest, max(highest) AS highest,
           coalesce(min(first_inside), min(lowest)) AS first_known, coalesce(max(last_inside), max(highest)) AS last_known
    FROM {prefix}words GROUP BY stream
), {prefix}spans AS (
    SELECT w.*, w.lowest - 1 AS before_first, e.ended, e.dropped,
           CASE WHEN w.first_known > w.last_known THEN w.lowest ELSE w.first_known END AS first_seq,
           greatest(CASE WHEN w.first_known > w.last_known THEN w.highest ELSE w.last_known END, coalesce(e.last_seq, 0)) AS upto
    FROM {prefix}whole w LEFT JOIN {prefix}ends e USING (stream)
), {prefix}numbers AS (  -- of the words at the edges only the bits from first_seq to upto
    SELECT stream, CAST(sum(bit_count(bits)) AS BIGINT) AS got,
           CAST(sum(bit_count((bits >> CAST(low AS UBIGINT)) & (18446744073709551615::UBIGINT >> CAST(63 - high + low AS UBIGINT))))
                FILTER (low <= high) AS BIGINT) AS got_inside
    FROM (SELECT stream, bits, least(greatest(first_seq - word * 64, 0), 64) AS low, greatest(least(upto - word * 64, 63), -1) AS high
          FROM {prefix}words JOIN {prefix}spans USING (stream))
    GROUP BY stream
)
""".strip()  # noqa: S608 - our own text


_LOST: Final = "upto - first_seq + 1 - got_inside"

DELIVERY: Final = f"""
WITH {streams(within=False, prefix="metlog_")}
SELECT stream, s.logger, s.hostname, s.pid, s.first_at, s.last_at, s.events AS received, n.got AS distinct_received,
       s.events - n.got AS duplicates, s.upto AS last_seq, {_LOST} AS lost, s.before_first,
       coalesce(s.ended, false) AS ended, CAST(s.dropped AS JSON) AS dropped
FROM metlog_spans s JOIN metlog_numbers n USING (stream)
"""  # noqa: S608 - our own text
"""The view `delivery`, over all days."""

_MOST: Final = 9223372036854775807

LOSS_BY_LOGGER: Final = f"""
WITH {streams(within=True)}
SELECT logger, CAST(least(sum(CAST(got_inside AS HUGEINT) + {_LOST}), {_MOST}) AS BIGINT) AS sent,
       CAST(least(sum({_LOST}), {_MOST}) AS BIGINT) AS lost,
       CAST(least(sum(events - got), {_MOST}) AS BIGINT) AS repeated, count(*) FILTER (ended IS NOT TRUE) AS unconfirmed
FROM spans JOIN numbers USING (stream) GROUP BY logger
"""  # noqa: S608 - our own text
"""What was sent, lost and came again from `$since` up to `$until`, by service; `unconfirmed`: streams with an unconfirmed tail."""
