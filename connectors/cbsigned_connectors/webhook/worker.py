"""`cbsigned worker`: runs accepted jobs that a broker hands out, until it is told to stop.

A job is acknowledged when its answer is kept: whatever kills the worker, another one runs it. Jobs of one worker share
questions as requests of one responder do, and workers on all hosts share answers and leases over Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbsigned.cli import Context, ExitCode
from cbsigned.errors import ConfigError

if TYPE_CHECKING:
    from cbsigned_connectors.webhook.service import Service
    from cbsigned_connectors.webhook.shared_jobs import Message, SharedJobs

__all__ = ["worker"]

Subparsers = Any  # argparse names its type privately
log = logging.getLogger(__name__)
_AGAIN_S = 1.0

_EXAMPLES = """
examples:
  cbsigned worker --config /etc/cbsigned/webhook.yaml     the same file as for cbsigned serve
  cbsigned worker --config webhook.yaml --concurrency 16

The EDR server is named as for every command. Run one or more on each host. Ctrl-C or SIGTERM stops it: what is being
asked is answered, what waits for the EDR is handed to another worker."""


def worker(subparsers: Subparsers) -> None:
    """Add `cbsigned worker`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "worker", help="run accepted jobs that a broker hands out", epilog=_EXAMPLES,
        description="Run the webhook responder's accepted jobs that RabbitMQ or Redis hands out.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--config", dest="webhook_config", type=Path, metavar="FILE", required=True,
        help="YAML, the same as for cbsigned serve: jobs.url names the broker",
    )  # fmt: skip
    parser.add_argument("--concurrency", type=_threads, default=16, metavar="N", help="jobs at a time (default: 16)")
    parser.add_argument("--store", metavar="PATH", help="the store to ask (default: CBSIGNED_STORE)")
    parser.add_argument("--json-logs", action="store_true", help="log lines as JSON on standard error")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv each question")
    parser.set_defaults(run=_run, config=None, output="json")


def _threads(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
    return int(text)


def _run(args: argparse.Namespace, context: Context) -> int:
    try:
        from cbsigned_connectors.webhook.configuration import load
        from cbsigned_connectors.webhook.logs import use_json_lines
        from cbsigned_connectors.webhook.metrics import Metrics
        from cbsigned_connectors.webhook.responder import Responder
        from cbsigned_connectors.webhook.senders import Senders
        from cbsigned_connectors.webhook.serve import core_settings, shared_jobs
        from cbsigned_connectors.webhook.service import Parts, Service
        from cbsigned_connectors.webhook.sources import watched
    except ImportError as exc:
        raise ConfigError(
            f"cbsigned worker needs {exc.name}, which is not installed: pip install 'cbsigned[webhook,celery]'"
        ) from exc
    settings = load(args.webhook_config, os.environ)
    core = core_settings(context.settings, settings)
    if settings.jobs.broker is None:
        raise ConfigError(f"{args.webhook_config} names no broker: cbsigned serve runs the jobs. Add jobs: amqp://….")
    if args.json_logs:
        use_json_lines()
    metrics = Metrics()
    with contextlib.closing(shared_jobs(settings.jobs, settings.jobs.broker, core)) as jobs:
        asked = watched(context.sources(), core, metrics)
        with _loop() as loop:
            parts = Parts(
                Responder(asked.sources, core, asked.hot), Senders(()), asked.health, metrics,
                mappings=settings.mappings, bodies=settings.bodies,
            )  # fmt: skip
            service = Service(parts)
            try:
                name = asked.sources.binaries.name
                _work(jobs, service, loop, args.concurrency, lambda: context.say(_ready(jobs, name)))
            finally:
                service.close()
    context.say("cbsigned worker: stopped.")
    return ExitCode.OK


def _ready(jobs: SharedJobs, source: str) -> str:
    return f"cbsigned worker: takes jobs from {jobs.broker.shown}, answers from {source}. Ctrl-C stops it."


def _work(
    jobs: SharedJobs, service: Service, loop: asyncio.AbstractEventLoop, concurrency: int, ready: Callable[[], None]
) -> None:
    """Take jobs until a signal comes; Celery has the signals, the threads and the broker."""
    from celery import signals
    from celery.exceptions import Reject

    from cbsigned_connectors.webhook.broker import TASK

    stopping = threading.Event()
    kept: list[Any] = [  # signals hold their receivers weakly
        lambda **_: None, lambda **_: ready(), lambda **_: stopping.set()
    ]  # fmt: skip
    for signal, receiver in zip((signals.setup_logging, signals.worker_ready, signals.worker_shutting_down), kept):
        signal.connect(receiver)
    runs = _Runs(jobs, service, loop, stopping)

    def run(document: Any) -> None:
        if not runs.ended(document):
            raise Reject("the worker stops", requeue=True)

    jobs.broker.app.task(name=TASK)(run)
    celery = jobs.broker.app.Worker(
        pool="threads", concurrency=concurrency, quiet=True, without_gossip=True, without_mingle=True,
        hostname=f"cbsigned-{os.getpid()}@%h",
    )  # fmt: skip
    celery.start()


class _Stopped(BaseException):
    """The worker stops; what waits is another's. No failure of the job, so it passes what catches those."""


class _Runs:
    """Runs one job in each of Celery's threads; the work itself is the service's, in its event loop."""

    def __init__(
        self, jobs: SharedJobs, service: Service, loop: asyncio.AbstractEventLoop, stopping: threading.Event
    ) -> None:
        self._jobs, self._service, self._loop, self._stopping = jobs, service, loop, stopping

    def ended(self, document: Any) -> bool:
        """Run the job in a message; False where the worker stops before it has its answer."""
        from cbsigned_connectors.webhook.job_model import JobsError
        from cbsigned_connectors.webhook.shared_jobs import Message

        try:
            message = Message.of_document(document)
        except (ValueError, KeyError, TypeError):
            log.error("The queue held something that is no job of this version; it is thrown away.")
            return True
        try:
            self._run(message)
        except _Stopped:
            with contextlib.suppress(JobsError):
                self._jobs.put_back(message.id)
            return False
        return True

    def _run(self, message: Message) -> None:
        from cbsigned_connectors.webhook.asynchronous import answer_to_job, document_of_answer

        if not self._insisted(lambda: self._jobs.begin(message)):
            return
        answering: Awaitable[Any] = answer_to_job(
            message.id, message.sender, message.request, self._service.run, self._paused
        )
        answer = _result(asyncio.run_coroutine_threadsafe(answering, self._loop))  # type: ignore[arg-type]
        self._insisted(lambda: self._jobs.finish(message.id, document_of_answer(answer)))

    def _insisted(self, change: Callable[[], bool]) -> bool:
        """Change the state of a job, however long its server is away."""
        from cbsigned_connectors.webhook.job_model import JobsError

        while True:
            try:
                return change()
            except JobsError as exc:
                log.warning("The state of a job cannot be kept, it is tried again: %s", exc)
            if self._stopping.wait(_AGAIN_S):
                raise _Stopped

    async def _paused(self, seconds: float) -> None:
        """Sleep, unless it is time to stop."""
        end = self._loop.time() + seconds
        while self._loop.time() < end:
            if self._stopping.is_set():
                raise _Stopped
            await asyncio.sleep(min(0.25, max(0.0, end - self._loop.time())))


def _result(future: Future[Any]) -> Any:
    return future.result()


@contextlib.contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give an event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="worker-loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
