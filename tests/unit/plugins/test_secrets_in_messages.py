"""A message about a wrong option, URL or proxy shows no secret, however the name of the option is spelt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metlog.errors import ConfigError
from metlog.plugins import check

SECRET = "SECRETSECRET12345"
OPTIONS = [
    ("sender", "http", "token"), ("sender", "zmq", "secret_key"), ("encoder", "signed", "key"), ("filter", "redact", "key"),
    ("input", "http", "token"), ("input", "zmq", "secret_key"), ("output", "http", "token"),
]  # fmt: skip


def told(kind: str, spec: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check(kind, spec, "where").build()  # type: ignore[arg-type]
    return str(caught.value)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(OPTIONS),
    st.integers(0, 20),
    st.sampled_from(["cut", "swap", "double", "other"]),
    st.sampled_from("abxyz_1"),
)
def test_a_misspelt_option_echoes_no_secret(option: tuple[str, str, str], place: int, how: str, letter: str) -> None:
    kind, component, name = option
    at = place % len(name)
    spelt = {
        "cut": name[:at] + name[at + 1 :], "swap": name[:at] + name[at:][1:2] + name[at : at + 1] + name[at + 2 :],
        "double": name[: at + 1] + name[at:], "other": name[:at] + letter + name[at + 1 :],
    }[how]  # fmt: skip
    if spelt == name:
        return
    assert "SECRET" not in told(kind, {"name": component, spelt: SECRET})
    assert "SECRET" not in told(kind, {"name": component, spelt: {"a": SECRET, "b": [SECRET]}})


@pytest.mark.parametrize(
    "url",
    [
        "http://user:{}@host:x/",
        "udp://{}@host:99999",
        "http://host/?tokn={}",
        "http://host/?tokn={}#part",
        "htp://user:{}@host/",
        "x://{}@h#f",
    ],
)
@pytest.mark.parametrize("before", ["", "p/", "p@", "p:", "p\n", "p ", "p?", "p#", "p&", "p=", "[", "℀", "=="])
def test_a_url_echoes_no_secret(url: str, before: str) -> None:
    assert "SECRET" not in told("sender", url.format(before + SECRET))


def test_a_proxy_echoes_no_password() -> None:
    assert "SECRET" not in told("sender", {"name": "http", "host": "h", "proxy": f"ftp://user:{SECRET}@proxy:1"})


@pytest.mark.parametrize("url", ["udp://h?token=abc#{}", "udp://h#{}", "http://h/p?x=1#a{}"])
def test_a_fragment_may_be_the_end_of_a_secret(url: str) -> None:
    assert SECRET not in told("sender", url.format(SECRET))
