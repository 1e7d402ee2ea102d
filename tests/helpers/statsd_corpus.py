"""Lines of statsd clients, by where they come from; `%s` is the name, so that each line has its own."""

from __future__ import annotations

__all__ = ["DIFFERENT", "LINES"]

_NUMBERS = [
    "0",
    "1",
    "-1",
    "+1",
    "7",
    "320",
    "1.5",
    "0.001",
    "-0.5",
    ".5",
    "5.",
    "1e3",
    "1E-2",
    "100000000000",
    " 1",
    "1 ",
    "007",
    "-0",
]
_RATES = ["@1", "@0.1", "@0.5", "@0.25", "@.5", "@1.0", "@0.001", "@2"]
_TAGS = ["#env:prod", "#a,b", "#a:1,b:2", "#host:x:1", "#env:", "#url:http://x/y", "#"]

LINES: list[str] = [
    # statsd's own metric_types.md
    "%s:1|c", "%s:1|c|@0.1", "%s:320|ms|@0.1", "%s:333|g", "%s:-10|g", "%s:+4|g", "%s:765|s",
    # the multi-metric form that its server takes, and Etsy's clients send
    "%s:1|c:2|c:3|c", "%s:5|ms:6|ms:7|ms", "%s:581632|ms:593920|ms:610304|ms", "%s:6240|ms|@0.5:6304|ms:6336|ms", "%s:1|c|@0.1:2|c|@0.5",
    "%s:1|g:2|g", "%s:1|s:2|s:2|s", "%s:1|c:2|ms:3|g",
    # pystatsd, node-statsd, hot-shots, statsd-ruby, statsd-php, go-statsd, java-dogstatsd, lua, nginx, gunicorn, Airflow, Envoy, Sidekiq
    "%s:1|c|@0.100000", "%s:12.345678|ms", "%s:0.000000|ms", "%s:1.0|c", "%s.a.b.c:1|c", "%s-x_y:1|c", "%s:3|g", "%s:u1|s", "%s:1|c\r",
    "%s:1|c|#env:prod,version:1.2.3", "%s:42|ms|@0.5|#route:/a,status:200", "%s:1|c|#x", "%s:17|g|#shard:1", "%s:a|s|#x:y",
    # blanks and ends
    "%s:1|c ", "%s: 1|c", "%s:1 |c", "%s:1| c", "%s:1|c\t", "%s:1|ms ", "%s:1|g ",
    " %s:1|c",
    # what is no metric for either
    "%s", "%s:", "%s:1", "%s:|c", "%s:one|c", "%s:1,5|c", "%s:--1|c", "%s:1.2.3|g", "%s:x|ms", "%s:-5|ms", "%s:1|c|@",
    "%s:1|c|@x", "%s:1|c|@-1",
    "%s:NaN|c", "%s:1_000|c", "%s:1|ms|@0.1x", "", "::::", "|||", "%s|c",
    # a bad value among good ones costs no other
    "%s:1|c:x|c:3|c", "%s:1|c::3|c", "%s:x|ms:5|ms",
    *[f"%s:{number}|{kind}" for number in _NUMBERS for kind in ("c", "g", "ms")],
    *[f"%s:{number}|{kind}|{rate}" for number in ("1", "3", "2.5") for kind in ("c", "ms") for rate in _RATES],
    *[f"%s:2|{kind}|{tags}" for kind in ("c", "g", "ms") for tags in _TAGS],
    *[f"%s:2|{kind}|@0.5|{tags}" for kind in ("c", "ms") for tags in _TAGS],
    *[f"%s:{value}|s" for value in ("a", "0", "a b", "user@example.org", "-1", "J\u00fcrgen", "\u65e5\u672c", "a/b", "x;y", "a=b")],
    *[f"%s.{'n' * length}:1|c" for length in (1, 50, 200)],
]  # fmt: skip

DIFFERENT: dict[str, str] = {
    # line: why the sums differ (docs/listener.md, "As the original statsd takes it")
    "%s:1|x": "unknown types are counters there", "%s:1|h": "a histogram of DogStatsD", "%s:1|d": "a distribution of DogStatsD",
    "%s:5|MS": "capital types are counters there", "%s:5|G": "capital types are counters there", "%s:0x10|c": "hexadecimal numbers",
    "%s:Infinity|c": "infinite", "%s:1|c|@0": "a rate of nothing", "%s:1:2:3|ms": "DogStatsD's packed values",
    "%s:1|c|e:x": "sections beside the rate", "%s:1|c||": "empty sections", "%s:1|c|T1656581400": "sections beside the rate",
    "%s:a:b|s": "a colon in a set's member", "%s:1|c\0": "NUL",
}  # fmt: skip
