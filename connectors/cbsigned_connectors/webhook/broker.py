"""The broker that hands accepted jobs to workers, by Celery: how it is reached, and what is sent.

A job is acknowledged when its answer is kept, each thread of a worker has one, and what a worker that died had is
handed out again: by RabbitMQ at once, by Redis after `visibility_s`.

References:
    - https://docs.celeryq.dev/en/stable/userguide/configuration.html (5.3 to 5.7)
    - https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import quote, urlsplit

from cbsigned.errors import ConfigError
from cbsigned.settings import redis_url
from cbsigned_connectors.webhook.job_model import JobsUnavailable

__all__ = ["TASK", "Broker", "BrokerSettings", "broker_url"]

TASK = "cbsigned.webhook.job"
_QUEUE = "cbsigned.jobs"
_CONNECT_S = 2.0
_HEARTBEAT_S = 10


@dataclass(frozen=True)
class BrokerSettings:
    """The broker that hands jobs to workers.

    Attributes:
        url: `amqp`, `amqps`, `redis` or `rediss`, never with a password.
        password: Never shown by `repr`.
        ca_file: PEM file of its CA; the system's where it is None.
        visibility_s: A Redis hands out again what was not finished within it.
    """

    url: str
    password: str = field(repr=False, default="")
    ca_file: Optional[str] = None
    visibility_s: float = 900.0


def broker_url(text: str) -> str:
    """Return the address of a broker.

    Raises:
        ConfigError: It is none, or it holds a password; the text is in no message.
    """
    if text.startswith(("redis:", "rediss:")):
        return redis_url(text)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError("expected an address such as amqp://cbsigned@rabbit.local/jobs, or redis://….")
    if parts.password is not None or parts.query or parts.fragment:
        raise ConfigError("expected the broker alone; the password has a key of its own.")
    return text


class Broker:
    """A broker to which jobs are handed; thread-safe.

    Attributes:
        app: Celery's application, for the worker.
        shown: Its address without user and password.

    Raises:
        ConfigError: The extra `celery` is not installed.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        parts = urlsplit(settings.url)
        self.shown = f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"
        self.app, self._failures = _application(settings)

    def hand_out(self, job_id: str, document: Mapping[str, Any]) -> None:
        """Give a job to the workers; when this returns, the broker has it.

        Raises:
            JobsUnavailable: It has not.
        """
        try:
            self.app.send_task(
                TASK, args=[document], task_id=job_id, queue=_QUEUE, ignore_result=True,
                argsrepr="(a job)", kwargsrepr="{}",  # alerts are in no event and no log
            )  # fmt: skip
        except self._failures as exc:
            raise JobsUnavailable(self._told(exc)) from None

    def check(self) -> Optional[str]:
        """Return what is wrong with it, after connecting; None when all is well."""
        try:
            with self.app.connection_for_write(connect_timeout=_CONNECT_S) as connection:
                connection.connect()
        except self._failures as exc:
            return self._told(exc)
        return None

    def close(self) -> None:
        """Close the connections."""
        self.app.close()

    def _told(self, exc: Exception) -> str:
        refused = "403" in str(exc) or "ACCESS_REFUSED" in str(exc) or "AUTH" in str(exc) or "WRONGPASS" in str(exc)
        if refused:
            return f"The broker {self.shown} refuses the user or the password. Check jobs.url and jobs.password."
        return f"The broker {self.shown} cannot be reached or takes nothing ({type(exc).__name__}). Look into its log."


def _application(settings: BrokerSettings) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return Celery's application, and what it raises where the broker fails."""
    try:
        from amqp.exceptions import AMQPError
        from celery import Celery
        from kombu import Queue
        from kombu.exceptions import KombuError
        from redis.exceptions import RedisError
    except ImportError as exc:
        raise ConfigError(
            f"{exc.name} is not installed, and jobs.url names a broker: pip install 'cbsigned[celery]'"
        ) from exc
    app = Celery("cbsigned", broker=_with_password(settings), backend=None, set_as_current=False)
    app.conf.update(
        task_default_queue=_QUEUE, task_queues=[Queue(_QUEUE, durable=True)], task_create_missing_queues=False,
        task_serializer="json", accept_content=["json"], task_ignore_result=True,
        task_acks_late=True, task_acks_on_failure_or_timeout=False, task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1, worker_enable_remote_control=False, worker_send_task_events=False,
        worker_hijack_root_logger=False, worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False, broker_heartbeat=_HEARTBEAT_S,
        broker_connection_timeout=_CONNECT_S, broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None, task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
        broker_transport_options=_transport(settings), broker_use_ssl=_tls(settings),
    )  # fmt: skip
    return app, (KombuError, AMQPError, RedisError, OSError)


def _with_password(settings: BrokerSettings) -> str:
    parts = urlsplit(settings.url)
    host = parts.netloc.rsplit("@", 1)[-1]
    user = parts.username or ("guest" if parts.scheme.startswith("amqp") and settings.password else "")
    credentials = f"{user}:{quote(settings.password, safe='')}@" if settings.password else f"{user}@" if user else ""
    return f"{parts.scheme}://{credentials}{host}{parts.path}"


def _transport(settings: BrokerSettings) -> dict[str, Any]:
    if settings.url.startswith("redis"):
        return {"visibility_timeout": settings.visibility_s, "socket_connect_timeout": _CONNECT_S}
    return {"confirm_publish": True, "confirm_timeout": 5.0}


def _tls(settings: BrokerSettings) -> Optional[dict[str, Any]]:
    parts = urlsplit(settings.url)
    if parts.scheme == "rediss":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": settings.ca_file, "ssl_check_hostname": True}
    if parts.scheme == "amqps":
        return {
            "cert_reqs": ssl.CERT_REQUIRED, "ca_certs": settings.ca_file, "server_hostname": parts.hostname,
        }  # fmt: skip
    return None
