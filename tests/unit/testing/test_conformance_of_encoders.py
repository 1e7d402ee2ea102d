"""Every built-in encoder, and the one that the documentation shows, keeps every promise of EncoderConformance."""

from __future__ import annotations

from metlog.encoders import Encoder
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.encoders.text import TextEncoder
from metlog.plugins import installed
from metlog.testing import EncoderConformance
from tests.helpers.documented import documented


def test_none_is_left_out():
    covered = {name.removeprefix("Test").partition("Encoder")[0].lower() for name in globals() if name[:4] == "Test"}
    assert {plugin.name for plugin in installed("encoder") if plugin.origin.startswith("metlog ")} <= covered


class TestJsonEncoder(EncoderConformance):
    def make_encoder(self):
        return JsonEncoder()


class TestMsgpackEncoder(EncoderConformance):
    def make_encoder(self):
        return MsgpackEncoder()


class TestTextEncoder(EncoderConformance):
    readable = False

    def make_encoder(self):
        return TextEncoder(color="never")


class TestTextEncoderInColour(TestTextEncoder):
    def make_encoder(self):
        return TextEncoder(color="always")


class TestSignedEncoder(EncoderConformance):
    detects_damage = True

    def make_encoder(self):
        return SignedEncoder(key="k" * 32)


class TestSignedEncoderOfMsgpack(TestSignedEncoder):
    def make_encoder(self):
        return SignedEncoder(key="k" * 32, encoder="msgpack")


class TestDocumentedEncoder(EncoderConformance):
    def make_encoder(self):
        return documented(Encoder, "ReprEncoder")()
