"""Every built-in filter, and the one that the documentation shows, keeps every promise of FilterConformance."""

from __future__ import annotations

from metlog.event import Event
from metlog.filters import Filter
from metlog.filters.rate_limit import RateLimit
from metlog.filters.redact import Redact
from metlog.filters.sample import Sample
from metlog.filters.severity import SeverityMax
from metlog.filters.types import TypeAllow, TypeDeny, TypeSeverityMax
from metlog.plugins import installed
from metlog.testing import FilterConformance
from tests.helpers.documented import documented


def test_none_is_left_out():
    covered = {name.removeprefix("Test").partition("By")[0].lower() for name in globals() if name[:4] == "Test"}
    builtin = {plugin.name.replace("_", "") for plugin in installed("filter") if plugin.origin.startswith("metlog ")}
    assert builtin <= covered


class TestSeverityMax(FilterConformance):
    kept = (Event(type="a", severity=0), Event(type="a", severity=4))
    dropped = (Event(type="a", severity=5), Event(type="a", severity=7))

    def make_filter(self):
        return SeverityMax(severity=4)


class TestTypeAllow(FilterConformance):
    kept = (Event(type="login"),)
    dropped = (Event(type="logout"), Event(type=""))

    def make_filter(self):
        return TypeAllow(types=["login", "t1"])


class TestTypeDeny(FilterConformance):
    kept = (Event(type="logout"), Event(type=""))
    dropped = (Event(type="login"),)

    def make_filter(self):
        return TypeDeny(types=["login", "t1"])


class TestTypeSeverityMax(FilterConformance):
    kept = (Event(type="login", severity=3), Event(type="other", severity=7))
    dropped = (Event(type="login", severity=4),)

    def make_filter(self):
        return TypeSeverityMax(types={"login": 3})


class TestSample(FilterConformance):
    def make_filter(self):
        return Sample(rate=0.5)


class TestSampleByField(FilterConformance):
    def make_filter(self):
        return Sample(rate=0.5, field="request.id")


class TestRateLimit(FilterConformance):
    kept = (Event(type="a"), Event(type="b"))

    def make_filter(self):
        return RateLimit(rate=5, window=0.05)


class TestRateLimitByFewTypes(FilterConformance):
    def make_filter(self):
        return RateLimit(rate=1, burst=1, max_types=2, window=0.05)


class TestRedact(FilterConformance):
    kept = (Event(type="a"),)

    def make_filter(self):
        return Redact(
            drop=["**.cookie", "bytes"], pseudonymize=["user"], key="k" * 32, cut_ip=["ip"], mask=["email", "ipv4", "ipv6", "credit_card"]
        )  # fmt: skip


class TestRedactByKeeping(FilterConformance):
    def make_filter(self):
        return Redact(keep=["request.id", "user.**"])


class TestDocumentedFilter(FilterConformance):
    kept = (Event(type="request", fields={"path": "/"}), Event(type="a"))
    dropped = (Event(type="request", fields={"path": "/healthz"}),)

    def make_filter(self):
        return documented(Filter, "NoHealthChecks")()
