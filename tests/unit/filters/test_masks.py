"""The ready-made masks, on what is hard about each of them."""

from __future__ import annotations

import ipaddress
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.filters._masks import MASKS

M = "***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ann@example.org", M),
        ("to <ann.b+c@mail.example.co.uk>, now", f"to <{M}>, now"),
        ("mailto:ann@example.org.", f"mailto:{M}."),
        ("?mail=ann%40example.org&x=1", f"?mail={M}&x=1"),
        ("user=ann@example.org;", f"user={M};"),
        ("jürgen@exämple.org", M),
        ("почта@пример.рф", M),
        ('"ann b"@example.org', M),
        ("ann@[192.0.2.1]", M),
        ("ann@[2001:db8::1]", M),
        ("o'brien_x!#$&*{}|~@example.org", M),
        ("a" * 200 + "@example.org", M),
        ("a@b@c.example.org", f"a@{M}"),
        ("ann@example.org,bob@example.org", f"{M},{M}"),
        ("git@github.com:x/y", f"{M}:x/y"),
        ("root@localhost", "root@localhost"),  # no domain: a machine, not a person's address
        ("@decorator and 5 @ 3", "@decorator and 5 @ 3"),
        ("a@b", "a@b"),
    ],
)
def test_email(text: str, masked: str) -> None:
    assert MASKS["email"](text, M) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("192.0.2.7", M),
        ("from 192.0.2.7:80.", f"from {M}:80."),
        ("connecting...192.0.2.7...", f"connecting...{M}..."),
        ("end 192.0.2.7.", f"end {M}."),
        ("http://192.0.2.7/x 10.0.0.0/8", f"http://{M}/x {M}/8"),
        ("192.000.002.007", M),
        ("::ffff:192.0.2.7", f"::ffff:{M}"),
        ("x192.0.2.7y", f"x{M}y"),
        ("255.255.255.255,0.0.0.0", f"{M},{M}"),
        ("256.1.1.1 1.1.1.999", "256.1.1.1 1.1.1.999"),
        ("v1.2.3 1.2.3.4.5 1.3.6.1.4.1.311", "v1.2.3 1.2.3.4.5 1.3.6.1.4.1.311"),
        ("1921.0.2.7", "1921.0.2.7"),
    ],
)
def test_ipv4(text: str, masked: str) -> None:
    assert MASKS["ipv4"](text, M) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("2001:db8::1", M),
        ("2001:0DB8:0000:0000:0000:0000:0000:0001", M),
        ("2001:db8:1:2:3:4:5:6", M),
        ("::1", M),
        ("fe80::", M),
        ("::ffff:192.0.2.7", M),
        ("64:ff9b::192.0.2.33.", f"{M}."),
        ("fe80::1%eth0 up", f"{M} up"),
        ("http://[fe80::1%25en0]:80/", f"http://[{M}]:80/"),
        ("[2001:db8::1]:443", f"[{M}]:443"),
        ("2001:db8::1: timed out", f"{M}: timed out"),
        ("client:2001:db8::1", f"client:{M}"),
        ("remote=2001:db8::1,port=5", f"remote={M},port=5"),
        ("2001:db8:1:2:3:4:5:6:8080", f"{M}:8080"),
        ("at 2001:db8::1 12:30", f"at {M} 12:30"),
        ("2001:db8::/32", f"{M}/32"),
        ("2001:db8::1.", f"{M}."),
        ("(2001:db8::1)", f"({M})"),
        ("std::vector Foo::Bar x::~x", "std::vector Foo::Bar x::~x"),
        ("code:2001:db8:1:2:3:4:5:6", f"code:{M}"),
        ("host:::1", f"host:{M}"),
        ("12:30:45 2026-05-01T12:30:45.123Z", "12:30:45 2026-05-01T12:30:45.123Z"),
        ("00:1a:2b:3c:4d:5e", "00:1a:2b:3c:4d:5e"),
        ("a :: b", "a :: b"),
        (":".join(["ab"] * 20), ":".join(["ab"] * 20)),  # SHA-1 of a certificate
        ("1::2::3", f"{M}::3"),  # no address, and yet what looks like one does not stay
    ],
)
def test_ipv6(text: str, masked: str) -> None:
    assert MASKS["ipv6"](text, M) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("4111111111111111", M),
        ("4111 1111 1111 1111", M),
        ("4111-1111-1111-1111.", f"{M}."),
        ("4111.1111.1111.1111", M),
        ("4111\u00a01111\u00a01111\u00a01111", M),
        ("4111  1111  1111  1111", M),
        ("378282246310005", M),  # 15 digits
        ("3782 822463 10005", M),
        ("30569309025904", M),  # 14
        ("4222222222222", M),  # 13
        ("6304000000000000000", M),  # 19
        ("%B4111111111111111^DOE/J^2512101?", f"%B{M}^DOE/J^2512101?"),
        (";4111111111111111=2512101?", f";{M}=2512101?"),
        ("2026-05-01 4111111111111111", f"2026-05-01 {M}"),
        ("order 12 4111 1111 1111 1111 7", f"order 12 {M} 7"),
        ("4111111111111111 378282246310005", f"{M} {M}"),
        ("4111111111111112", "4111111111111112"),  # a wrong check digit
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("id 00004111111111111111111111", "id 00004111111111111111111111"),
        ("411111111111", "411111111111"),
    ],
)
def test_credit_card(text: str, masked: str) -> None:
    assert MASKS["credit_card"](text, M) == masked


@given(
    number=st.integers(0, 2**128 - 1),
    form=st.sampled_from(["short", "long", "upper", "mixed"]),
    around=st.sampled_from([("", ""), ("[", "]:443"), ("ip=", ","), ("from ", ": no route"), ("x:", " "), ("(", ")")]),
)
def test_no_ipv6_address_stays_in_any_of_its_forms(number: int, form: str, around: tuple[str, str]) -> None:
    address = ipaddress.IPv6Address(number)
    text = {
        "short": str(address),
        "long": address.exploded,
        "upper": str(address).upper(),
        "mixed": f"{ipaddress.IPv6Address(number >> 32 << 32 | 0x10000000).exploded[:-9]}192.0.2.7",
    }[form]
    if text == "::":
        return
    masked = MASKS["ipv6"](around[0] + text + around[1], M)
    assert masked == around[0] + M + around[1]


@given(
    digits=st.text(alphabet="0123456789", min_size=12, max_size=18),
    separators=st.lists(st.sampled_from(["", " ", "-", ".", "\u00a0", "\u202f", "- ", "  "]), min_size=19, max_size=19),
    around=st.sampled_from(
        [("", ""), ("card ", "."), ("no=", "&x=1"), ("2026-05-09T07:35:25Z ", " 12:30"), ("a", "b")]
    ),
)
def test_no_card_stays_however_it_is_grouped(digits: str, separators: list[str], around: tuple[str, str]) -> None:
    total = sum(
        sum(divmod(int(digit) * 2, 10)) if place % 2 == 0 else int(digit)
        for place, digit in enumerate(reversed(digits))
    )
    card = digits + str(-total % 10)  # ISO/IEC 7812-1: what the check digit is for
    text = "".join(digit + separator for digit, separator in zip(card, separators, strict=False)).strip(
        " -.\u00a0\u202f"
    )
    hidden = MASKS["credit_card"](around[0] + text + around[1], M)
    assert text not in hidden
    assert M in hidden


@given(st.text(alphabet="0123456789abcdefABCDEF:.%[] x@-", max_size=60))
def test_nothing_is_lost_but_what_is_masked(text: str) -> None:
    for mask in MASKS.values():
        parts = mask(text, "\0").split("\0")
        assert re.fullmatch(".*".join(map(re.escape, parts)), text, re.DOTALL)


@pytest.mark.parametrize("name", list(MASKS))
@pytest.mark.parametrize(
    "unit", ["a", "1", "1 ", "1.", "a:", ":", "a@", "@", "a.", "1-", "a%40", '"', "::", "ab:cd:", "1111 ", "4111111111111112 "]
)  # fmt: skip
def test_no_text_makes_a_mask_slow(name: str, unit: str) -> None:
    """Work grows with the text: with its square, these would take minutes each, and the test its timeout."""
    text = unit * (300_000 // len(unit)) + random.choice("x!")
    MASKS[name](text, M)
