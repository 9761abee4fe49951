"""However the handler fares, every input cell comes back byte for byte, in order, exactly once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.splunk.conftest import TOKEN
from connectors.splunk.hostile import STATUSES, binaries, tables
from edr_server import EdrServer
from splunkd.frames import Table
from splunkd.handlers import Fault
from splunkd.instance import Splunkd
from splunkd.search import Conduct

FILES = 3000
SIZES = [1, 7, 100, 2500, 1, 5000, 333]
TIMEOUT_S = 1.0
FAULTS = {
    "answering": None,
    "slow from the third request on": Fault("slow", seconds=60, after=2),
    "always slow": Fault("slow", seconds=60),
    "500": Fault("status", 500, after=1),
    "500 now and then": Fault("status", 500, after=1, times=1),
    "429": Fault("status", 429, after=1),
    "503 from the beginning": Fault("status", 503),
    "cut off": Fault("cut", after=1),
    "no answer at all": Fault("refused", after=2),
    "restarted": Fault("restart", seconds=0.02, after=1, times=2),
    "a login page": Fault("html", after=1),
    "garbage": Fault("garbage"),
}
ANSWERED = ("answering", "500 now and then", "restarted")
"""The searches that get answers in the end: they may wait as long as they do by default."""
CONDUCTS = {"merged": Conduct(pauses=3), "all fields": Conduct(selects=False, finishes_with_rows=True)}

SHORT = [
    *zip(FAULTS, [CONDUCTS["merged"], CONDUCTS["all fields"]] * len(FAULTS)),
    ("answering", CONDUCTS["all fields"]),
]
"""One way each in the short run, both at night."""


@dataclass
class Ledger:
    """Compares what went with what came, chunk by chunk."""

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __call__(self, before: Table, after: Table) -> None:
        width = len(before.names)
        if not before.rows and not after.rows:
            return
        if after.names[:width] != before.names or len(after.rows) != len(before.rows):
            self.wrong.append(f"{after.names} × {len(after.rows)} for {before.names} × {len(before.rows)}")
            return
        places = [after.names.index(name) for name in (b"md5", b"cbsigned_status", b"cbsigned_why")]
        for went, came in zip(before.rows, after.rows):
            md5, status, why = (came[place] for place in places)
            if came[:width] != went or not why or not _right(md5, status):
                self.wrong.append(f"{went!r:.300} came back as {came!r:.300}")
            self.statuses[status.decode()] += 1
        self.rows += len(before.rows)


def _right(md5: object, status: object) -> bool:
    """Whether a status is the EDR's, or Unknown."""
    if status == b"Unknown":
        return True
    number = int(md5, 16) if isinstance(md5, bytes) and len(md5) == 32 else -1
    return number % 5 > 0 and number < FILES and status == STATUSES[number % len(STATUSES)].encode()


@pytest.fixture(scope="module")
def set_up(app: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Splunkd]:
    folder = tmp_path_factory.mktemp("splunkd")
    with EdrServer(binaries=binaries(FILES), token=TOKEN) as edr, Splunkd(folder, app) as splunkd:
        splunkd.configure(TOKEN, edr={"url": edr.url})
        yield splunkd


def examined(splunkd: Splunkd, rows: int, fault: str, conduct: Conduct, sizes: list[int]) -> tuple[Ledger, list[str]]:
    """Search through the fault; the time, the banners and the cells are judged here, the statuses by the caller."""
    ledger = Ledger()
    splunkd.faults.clear()
    if FAULTS[fault] is not None:
        splunkd.faults.set(FAULTS[fault])

    args = [] if fault in ANSWERED else [f"timeout={TIMEOUT_S}"]
    outcome = splunkd.search(
        "cbsigned", args, user=splunkd.user("analyst", roles=("cbsigned_user",)),
        chunks=tables(rows, FILES, sizes), conduct=conduct, sink=ledger, maxwait_s=30,
    )  # fmt: skip

    assert outcome.error is None
    assert outcome.exit_code == 0
    assert ledger.wrong == []
    assert ledger.rows == rows
    assert len(outcome.banners) <= 1
    return ledger, outcome.banners


@pytest.mark.parametrize(("fault", "conduct"), SHORT, ids=[fault for fault, _ in SHORT])
def test_20_000_events(set_up: Splunkd, fault: str, conduct: Conduct) -> None:
    ledger, banners = examined(set_up, 20_000, fault, conduct, SIZES)

    if fault != "restarted":  # a job that is lost with the process is begun again, and then nothing is missing
        assert len(banners) == (0 if fault == "answering" else 1)
    if fault == "answering":
        assert ledger.statuses["Unknown"] < 0.3 * ledger.rows
        assert set(ledger.statuses) == {*STATUSES, "Unknown"}


@pytest.mark.nightly
@pytest.mark.parametrize("conduct", CONDUCTS.values(), ids=CONDUCTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_1_000_000_events(set_up: Splunkd, fault: str, conduct: Conduct) -> None:
    ledger, banners = examined(set_up, 1_000_000, fault, conduct, [1, 100, 2500, 50_000, 333, 12_500])

    assert len(banners) == (0 if fault == "answering" else 1)
    assert fault != "answering" or ledger.statuses["Unknown"] < 0.3 * ledger.rows


@pytest.mark.parametrize("fault", ["always slow", "503 from the beginning", "no answer at all"])
def test_a_dead_handler_costs_one_timeout_for_the_whole_search(set_up: Splunkd, fault: str) -> None:
    """Forty chunks of new hashes each: one wait, not forty."""
    asked = len(set_up.seen.requests)
    began = time.monotonic()

    examined(set_up, 4_000, fault, Conduct(), [100])

    assert time.monotonic() - began < TIMEOUT_S + 8
    assert set_up.seen.count("/cbsigned/rows", asked) <= 10


def test_hashes_are_asked_again_after_the_handler_came_back(set_up: Splunkd) -> None:
    """What failed in one search is not remembered for the next."""
    examined(set_up, 2_000, "503 from the beginning", Conduct(), [500])

    ledger, banners = examined(set_up, 2_000, "answering", Conduct(), [500])

    assert banners == []
    assert ledger.statuses["Unknown"] < 0.3 * ledger.rows
