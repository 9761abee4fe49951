from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cbsigned.edr.answers import Answer
from cbsigned.edr.transport import EdrClient
from cbsigned.edr.wire import tls_context
from cbsigned.errors import ConfigError, SourceError, SourceTimeout, SourceUnavailable
from cbsigned.settings import EdrSettings
from cbsigned.timing import Deadline
from edr_server import EdrServer

Start = Callable[..., EdrServer]
Client = Callable[..., Any]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def context(authority: trustme.CA, *names: str, common_name: str | None = None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, common_name=common_name).configure_cert(made)
    return made


def failure(client: EdrClient) -> SourceError:
    with pytest.raises(SourceError) as raised:
        client.ask("/api/info", Deadline(5))
    return raised.value


def test_a_certificate_of_an_unknown_issuer_is_refused_by_default(
    start: Start, client: Client, authority: trustme.CA
) -> None:
    server = start(tls=context(authority, "127.0.0.1"))

    error = failure(client(server, retries=0))

    assert isinstance(error, SourceUnavailable)
    assert "its issuer is not trusted. Set ca_file" in str(error)
    assert server.requests == []


def test_ca_file_accepts_its_certificates(start: Start, client: Client, authority: trustme.CA, ca_file: str) -> None:
    server = start(tls=context(authority, "127.0.0.1"))

    answer = client(server, ca_file=ca_file).ask("/api/info", Deadline(5))

    assert isinstance(answer, Answer)


def test_ca_file_replaces_the_usual_roots(start: Start, client: Client, ca_file: str) -> None:
    server = start(tls=context(trustme.CA(), "127.0.0.1"))

    assert "its issuer is not trusted" in str(failure(client(server, ca_file=ca_file, retries=0)))


def test_a_certificate_for_another_name_is_refused(
    start: Start, client: Client, authority: trustme.CA, ca_file: str
) -> None:
    server = start(tls=context(authority, "cb.example.test"))

    error = failure(client(server, ca_file=ca_file, retries=0))

    assert "it is for another name. Set tls_hostname" in str(error)


def test_tls_hostname_accepts_the_name_it_says(
    start: Start, client: Client, authority: trustme.CA, ca_file: str
) -> None:
    server = start(tls=context(authority, "cb.example.test"))

    asked = client(server, ca_file=ca_file, tls_hostname="cb.example.test")

    assert isinstance(asked.ask("/api/info", Deadline(5)), Answer)


@pytest.mark.parametrize("name", ["other.example.test", "127.0.0.1", "example.test", "xcb.example.test"])
def test_tls_hostname_refuses_other_names(
    name: str, start: Start, client: Client, authority: trustme.CA, ca_file: str
) -> None:
    server = start(tls=context(authority, "cb.example.test"))

    error = failure(client(server, ca_file=ca_file, tls_hostname=name, retries=0))

    assert "it is for another name" in str(error)
    assert server.requests == []


def test_tls_hostname_does_not_replace_trust(start: Start, client: Client, authority: trustme.CA) -> None:
    server = start(tls=context(authority, "cb.example.test"))

    error = failure(client(server, tls_hostname="cb.example.test", retries=0))

    assert "its issuer is not trusted" in str(error)


def test_verification_can_be_turned_off_with_one_warning(
    start: Start, client: Client, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start(tls=context(authority, "cb.example.test"))

    asked = client(server, verify_tls=False)
    answers = [asked.ask("/api/info", Deadline(5)) for _ in range(2)]

    assert all(isinstance(answer, Answer) for answer in answers)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "verify_tls is off" in caplog.text


def test_tls_connections_are_reused(start: Start, client: Client, authority: trustme.CA, ca_file: str) -> None:
    server = start(tls=context(authority, "127.0.0.1"))
    asked = client(server, ca_file=ca_file)

    for _ in range(5):
        asked.ask("/api/info", Deadline(5))

    assert server.connections == 1


@pytest.mark.parametrize("verify", [True, False])
def test_tls_before_1_2_is_never_offered(verify: bool) -> None:
    settings = EdrSettings("https://cb.example.test", "t", verify_tls=verify)

    assert ssl.TLSVersion.TLSv1_2 is tls_context(settings).minimum_version


def test_https_to_a_plain_port_says_so(start: Start, client: Client, ca_file: str) -> None:
    server = start()

    asked = client(server, url=server.url.replace("http:", "https:"), ca_file=ca_file, retries=0)

    assert "no TLS at this port" in str(failure(asked))


def test_a_server_that_is_silent_in_the_handshake_ends_at_the_deadline(ca_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = EdrSettings(f"https://127.0.0.1:{listener.getsockname()[1]}", "t", ca_file=ca_file)
        began = time.monotonic()
        with EdrClient(settings) as asked, pytest.raises(SourceTimeout):
            asked.ask("/api/info", Deadline(0.4))

    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_ca_file_that_cannot_be_read_is_a_matter_of_configuration(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"ca\.pem.*PEM file"):
        EdrClient(EdrSettings("https://cb.example.test", "t", ca_file=str(path)))


class Proxy(ThreadingHTTPServer):
    """Forwards GET, and joins sockets on CONNECT; notes what it was asked."""

    daemon_threads = True
    block_on_close = False
    seen: list[tuple[str, str, str | None]]
    refuse = False


class _ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self._note()
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(self.path, headers=headers, timeout=5)
        self.send_response_only(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def do_CONNECT(self) -> None:
        self._note()
        if self.server.refuse:
            self.send_error(407)
            return
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=5) as far:
            self.send_response_only(200)
            self.end_headers()
            thread = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            thread.start()
            _pump(self.connection, far)
            thread.join(5)
        self.close_connection = True

    def _note(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers.get("Proxy-Authorization")))

    def log_message(self, *_args: object) -> None:
        """Keep quiet."""


def _pump(one: Any, other: Any) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    for sock in (one, other):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = Proxy(("127.0.0.1", 0), _ProxyHandler)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_proxy_carries_plain_requests(start: Start, client: Client, proxy: Proxy) -> None:
    server = start()

    answer = client(server, proxy=f"http://127.0.0.1:{proxy.server_address[1]}").ask("/api/info", Deadline(5))

    assert isinstance(answer, Answer)
    assert [("GET", f"{server.url}/api/info", None)] == proxy.seen


def test_a_proxy_carries_tls_without_seeing_the_token(
    start: Start, client: Client, proxy: Proxy, authority: trustme.CA, ca_file: str
) -> None:
    server = start(tls=context(authority, "127.0.0.1"))
    url = f"http://user:word@127.0.0.1:{proxy.server_address[1]}"

    asked = client(server, proxy=url, ca_file=ca_file)
    answer = asked.ask("/api/info", Deadline(5))
    asked.close()

    assert isinstance(answer, Answer)
    assert [("CONNECT", f"127.0.0.1:{server.port}", "Basic dXNlcjp3b3Jk")] == proxy.seen
    assert "proxy-authorization" not in server.requests[0].headers


def test_certificates_are_checked_through_a_proxy(
    start: Start, client: Client, proxy: Proxy, authority: trustme.CA
) -> None:
    server = start(tls=context(authority, "127.0.0.1"))
    asked = client(server, proxy=f"http://127.0.0.1:{proxy.server_address[1]}", retries=0)

    assert "its issuer is not trusted" in str(failure(asked))
    asked.close()


def test_a_proxy_that_refuses_is_named_without_its_password(
    start: Start, client: Client, proxy: Proxy, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy.refuse = True
    server = start(tls=context(authority, "127.0.0.1"))
    asked = client(server, proxy=f"http://user:pa55word@127.0.0.1:{proxy.server_address[1]}", retries=0)

    error = failure(asked)

    assert "the proxy for 127.0.0.1" in str(error)
    assert "pa55word" not in str(error) + repr(error.__cause__) + repr(asked) + caplog.text


def test_a_proxy_that_is_not_there_is_told_apart_from_the_server(start: Start, client: Client) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as gone:
        port = gone.server_address[1]
    server = start()

    error = failure(client(server, proxy=f"http://127.0.0.1:{port}", retries=0))

    assert "the proxy for 127.0.0.1" in str(error)
    assert "port of the setting proxy" in str(error)


@pytest.mark.filterwarnings("ignore:Certificate for .* has no `subjectAltName`")  # urllib3 1.26
@pytest.mark.parametrize(("name", "fits"), [("Lab Server Certificate", True), ("Another Certificate", False)])
def test_tls_hostname_may_be_the_common_name_of_a_certificate_without_others(
    name: str, fits: bool, start: Start, client: Client, tmp_path: Path
) -> None:
    """An EDR server's own certificate carries one fixed common name, and no host name at all."""
    pem = tmp_path / "server.pem"
    pem.write_bytes(self_signed("Lab Server Certificate"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    asked = client(start(tls=tls), ca_file=str(pem), tls_hostname=name, retries=0)

    if fits:
        assert isinstance(asked.ask("/api/info", Deadline(5)), Answer)
    else:
        assert "it is for another name" in str(failure(asked))


def self_signed(common_name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key_pem + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
