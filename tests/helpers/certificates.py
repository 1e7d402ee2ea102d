"""Certificates for a test, made by the openssl command: fit for strict verification, which is the default since Python 3.13."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Final

import pytest

KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
AUTHORITY: Final = """
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
PEER: Final = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1
"""


def make(folder: Path) -> None:
    """Writes ca.pem and otherca.pem; of the first server.pem and client.pem, of the second other.pem; with keys NAME.key."""
    for authority in ("ca", "otherca"):
        config = folder / f"{authority}.cnf"
        config.write_text(f"[req]\ndistinguished_name = name\n[name]\n[extensions]\n{AUTHORITY}")
        _openssl(
            "req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={authority}", "-config", str(config), "-extensions", "extensions",
            "-keyout", f"{authority}.key", "-out", f"{authority}.pem", folder=folder,
        )  # fmt: skip
    (folder / "peer.cnf").write_text(PEER)
    for name, authority in (("server", "ca"), ("client", "ca"), ("other", "otherca")):
        _openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", folder=folder)
        _openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", "2", "-extfile", "peer.cnf", "-out", f"{name}.pem", folder=folder,
        )  # fmt: skip


def self_signed(folder: Path, name: str = "server", subject: str = "localhost") -> None:
    """Writes NAME.pem, for the subject and 127.0.0.1, signed by its own NAME.key: who trusts it trusts nothing else."""
    names = f"subjectAltName=DNS:{subject},IP:127.0.0.1"
    _openssl(
        "req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={subject}", "-addext", names,
        "-keyout", f"{name}.key", "-out", f"{name}.pem", folder=folder,
    )  # fmt: skip


def server_context(folder: Path, name: str = "server") -> ssl.SSLContext:
    """What a server needs that has this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def _openssl(*arguments: str, folder: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl: apt-get install openssl")
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)
