"""Every key of the configuration file: what it means, its unit, default, range and an example."""

# ruff: noqa: E501 (a table, one row for each key)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cbsigned_connectors.webhook.credentials import Scheme

__all__ = ["KEYS", "Key", "section_keys"]

_DAY_S = 86_400
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: With its sections: `jobs.kept_s`; `senders[].name` is that of every sender.
        kind: `text`, `redis`, `broker`, `secret`, `file`, `seconds`, `number`, `bytes`, `switch`, `choice`, `hosts`, `networks`, `secrets`, or
            `section` for what has keys of its own.
        default: As the user would write it; empty for none.
        low, high: Range of a number, both included.
    """

    name: str
    kind: str
    default: str
    help: str
    example: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()


_ALL = (
    Key("listen", "section", "", "Where the service listens.", ""),
    Key("listen.host", "text", "127.0.0.1", "Address to listen on; beyond the loopback, put a TLS proxy before it.", "0.0.0.0"),  # noqa: S104
    Key("listen.port", "number", "8787", "Port; 0 for any free one.", "8443", 0, 65_535),
    Key("listen.trusted_proxies", "networks", "[]", "Proxies whose X-Forwarded-For is believed.", "[10.0.0.5]"),
    Key("deadline_s", "seconds", "10", "For a synchronous answer; what is not known by then is told as a gap.", "5", 0.1, 300),
    Key("bodies", "section", "", "What a body may be, before it is known who sends it.", ""),
    Key("bodies.max_bytes", "bytes", str(_MIB), "Of a body as received.", "4194304", 1_024, 256 * _MIB),
    Key("bodies.max_unpacked_bytes", "bytes", str(10 * _MIB), "Of a body after gunzip.", "20971520", 1_024, 1_024 * _MIB),
    Key("bodies.at_once", "number", "1000", "Bodies that are being read at the same time.", "200", 1, 100_000),
    Key("bodies.timeout_s", "seconds", "20", "From the first to the last byte of a body.", "60", 0.1, 600),
    Key("senders", "section", "", "Who may post. Entries of one name are one sender, with a scheme each.", ""),
    Key("senders[].name", "text", "", "Who it is: owner of its jobs, in logs and metrics.", "soar"),
    Key("senders[].scheme", "choice", "", f"How it proves itself: {', '.join(s.value for s in Scheme)}.", "github", choices=tuple(s.value for s in Scheme)),
    Key("senders[].secrets", "secrets", "", "One to four, each valid, from the environment or files.", "[{env: CBSIGNED_SOAR}, {file: soar-old.secret}]"),
    Key("senders[].source", "text", "", "Format of what it sends, where the path names none; else it is detected.", "splunk"),
    Key("senders[].mapping", "text", "", "Entry of `mappings` for what it sends.", "my_siem"),
    Key("senders[].header", "text", "X-Api-Key", "For the scheme header: the header's name.", "Authorization"),
    Key("senders[].user", "text", "", "For the scheme basic: the user; any where it is missing.", "xsoar"),
    Key("senders[].addresses", "networks", "[]", "Networks that it may send from; any where it is empty.", "[10.1.0.0/16]"),
    Key("senders[].per_minute", "number", "60000", "Requests; beyond burst and this rate it is answered 429.", "600", 1, 10_000_000),
    Key("senders[].burst", "number", "10000", "Requests that may come at once.", "100", 1, 1_000_000),
    Key("senders[].max_body_bytes", "bytes", "", "Of its bodies as received; at most bodies.max_bytes.", "262144", 1, 256 * _MIB),
    Key("mappings", "section", "", "Field mappings of your own: name, field, paths.", "{my_siem: {md5: [event.FileMD5]}}"),
    Key("callbacks", "section", "", "Answers to accepted jobs, sent as signed Standard Webhooks.", ""),
    Key("callbacks.hosts", "hosts", "[]", "Hosts they may go to, *.suffix for all below; none where it is empty.", '["soar.example.test", "*.hooks.example.test:8443"]'),
    Key("callbacks.secrets", "secrets", "", "whsec_ secrets; every one signs.", "[{env: CBSIGNED_CALLBACKS}]"),
    Key("callbacks.allow_http", "switch", "no", "Unencrypted callbacks are made.", "yes"),
    Key("callbacks.allow_networks", "networks", "[]", "Networks they may go to although not public.", "[10.2.0.0/16]"),
    Key("callbacks.ca_file", "file", "", "PEM file of the receivers' CA; the public ones where it is missing.", "ca.pem"),
    Key("callbacks.timeout_s", "seconds", "10", "For one try, the DNS included.", "30", 0.1, 120),
    Key("callbacks.tries", "number", "8", "Tries of one callback.", "5", 1, 50),
    Key("callbacks.first_wait_s", "seconds", "5", "Before the second try; it grows fourfold with each.", "1", 0.1, 3_600),
    Key("callbacks.longest_wait_s", "seconds", "3600", "Between two tries.", "600", 1, _DAY_S),
    Key("callbacks.max_response_bytes", "bytes", "65536", "Read of an answer.", "4096", 0, 16 * _MIB),
    Key("cache", "section", "", "Answers that hosts share; the address alone may stand here.", "redis://cache.local:6379/0"),
    Key("cache.url", "redis", "", "Redis or Valkey; rediss:// for TLS. The settings of every command have it too.", "rediss://cbsigned@cache.local:6379/0"),
    Key("cache.password", "secret", "", "Its password.", "{env: CBSIGNED_CACHE_PASSWORD}"),
    Key("cache.ca_file", "file", "", "PEM file of its CA; the system's where it is missing.", "ca.pem"),
    Key("cache.timeout_s", "seconds", "0.5", "For one answer of it; beyond it the service does without.", "0.2", 0.05, 10),
    Key("jobs", "section", "", "Accepted jobs and their answers; a broker's address alone may stand here.", "amqp://cbsigned@rabbit.local/jobs"),
    Key("jobs.path", "file", "~/.local/state/cbsigned/webhook-jobs.db", "The file that keeps them; the service's alone.", "/var/lib/cbsigned/jobs.db"),
    Key("jobs.most_waiting", "number", "10000", "Beyond it, no job is accepted (503).", "1000", 1, 1_000_000),
    Key("jobs.max_bytes", "bytes", str(512 * _MIB), "Size of the file; the oldest answers go first.", "1073741824", _MIB, 2**40),
    Key("jobs.kept_s", "seconds", str(_DAY_S), "Life of an answer and of its idempotency key.", "3600", 1, 365 * _DAY_S),
    Key("jobs.lease_s", "seconds", "60", "A job whose worker died unseen is taken again after it.", "300", 1, _DAY_S),
    Key("jobs.least_free_bytes", "bytes", str(32 * _MIB), "Left on the disk for a job to be accepted.", "0", 0, 2**50),
    Key("jobs.url", "broker", "", "RabbitMQ (amqp, amqps) or Redis (redis, rediss), for `cbsigned worker`; then the jobs' state is in the cache.", "amqps://cbsigned@rabbit.local/jobs"),
    Key("jobs.password", "secret", "", "The broker's password.", "{file: rabbit.secret}"),
    Key("jobs.ca_file", "file", "", "PEM file of the broker's CA; the system's where it is missing.", "ca.pem"),
    Key("jobs.visibility_s", "seconds", "900", "Redis as broker: a job whose worker died is run again after it; longer than the longest job (11 minutes).", "1800", 5, _DAY_S),
)  # fmt: skip
KEYS: Mapping[str, Key] = {key.name: key for key in _ALL}
"""By their full names, in the order of the file."""


def section_keys(prefix: str) -> dict[str, Key]:
    """Return the keys of one section by their short names.

    Args:
        prefix: As full names begin: `jobs.`; empty for the top.
    """
    return {
        name[len(prefix) :]: key
        for name, key in KEYS.items()
        if name.startswith(prefix) and "." not in name[len(prefix) :]
    }
