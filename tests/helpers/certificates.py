"""Certificates for a test: an authority, a server for 127.0.0.1, a client; made by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def make(folder: Path) -> None:
    """Writes ca.pem, server.pem, client.pem, other.pem (of another authority), with keys NAME.key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl: apt-get install openssl")
    for authority in ("ca", "otherca"):
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={authority}", "-keyout", f"{authority}.key", "-out", f"{authority}.pem", folder=folder,
        )  # fmt: skip
    for name, authority in (("server", "ca"), ("client", "ca"), ("other", "otherca")):
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", folder=folder,
        )  # fmt: skip
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", f"{name}.pem", folder=folder,
        )  # fmt: skip


def _openssl(*arguments: str, folder: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
