"""What several tests of filters share."""

from __future__ import annotations

texts_with_finds = [
    "ann@example.org", "mail to ann%40example.org", "10.1.2.3", "from 1.1.1.1:80", "::1", "fe80::1%eth0 is there",
    "2001:db8:0:0:0:0:0:1", "4111 1111 1111 1111", "card 4111-1111-1111-1111.", "4111111111111111",
]  # fmt: skip
"""Short texts, each with something that a ready-made mask finds."""
