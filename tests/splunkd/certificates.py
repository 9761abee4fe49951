"""Certificates as a fresh splunkd has them: a shared CA, and a server whose certificate names no host."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Optional

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["install"]

_PEM = serialization.Encoding.PEM


def install(auth: Path) -> ssl.SSLContext:
    """Write `cacert.pem` and `server.pem` into `etc/auth` and return a server's context.

    As on a fresh installation the server is `SplunkServerDefaultCert` and has no alternative names, so a client that
    checks host names cannot connect, and one that checks nothing does not notice `impostor`.
    """
    authority, key = _issued("SplunkCommonCA", None, None)
    server, server_key = _issued("SplunkServerDefaultCert", authority, key)
    auth.mkdir(parents=True, exist_ok=True)
    (auth / "cacert.pem").write_bytes(authority.public_bytes(_PEM))
    return _context(auth / "server.pem", server, server_key)


def impostor(path: Path) -> ssl.SSLContext:
    """Return the context of a server with the same names, issued by someone else's CA."""
    authority, key = _issued("SplunkCommonCA", None, None)
    return _context(path, *_issued("SplunkServerDefaultCert", authority, key))


def _context(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(_PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _issued(
    name: str, issuer: Optional[x509.Certificate], issuer_key: Optional[ec.EllipticCurvePrivateKey]
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SplunkUser"),
    ])  # fmt: skip
    today = datetime.datetime(2026, 1, 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=3650))
    )
    if issuer is None:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256()), key
