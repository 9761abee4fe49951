"""The examination of a real Splunk: run where one is named, and itself tested on scripted answers."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from connectors.splunk import real_splunk
from connectors.splunk.real_splunk import ANALYST, PLAIN, Found, examine, from_environment
from splunkd.instance import Splunkd

PASSWORDS = "/servicesNS/nobody/cbsigned/storage/passwords"
THREE = [{"cbsigned_status": "Signed", "kept": 'a"b'}] * 3
GOOD: list[tuple[str, str, Found]] = [
    (r"makeresults count=3 .*cbsigned( declare=true)?$", "", Found(THREE)),
    (r"index=_internal \| head 200 .*cbsigned \|", "", Found([{"cbsigned_status": "Signed", "count": "200"}])),
    (r"makeresults count=9 ", "", Found([{"count": "9", "cbsigned_status": "Signed"}])),
    (r"makeresults count=60000", "", Found([{"count": "60000", "rows": "60000", "answered": "60000"}])),
    (r"cblineage guid=process_guid", "", Found([{"lineage_text": "git.exe (Unsigned) <- cmd.exe (Signed)"}])),
    (r"timeout=soon", "", Found(error="Error in 'cbsigned' command: timeout is \"soon\": expected seconds")),
    (r"makeresults \| eval process_md5", ANALYST, Found([{"cbsigned_status": "Signed"}])),
    (
        r"makeresults \| eval process_md5",
        PLAIN,
        Found(THREE[:1], ["WARN: Your role lacks the capability cbsigned_use"]),
    ),
    (r"stats dc\(pid\)", "", Found([{"handlers": "2"}])),
    (r"tstats count", "", Found([{"source": "/opt/splunk/var/log/splunk/cbsigned.log", "count": "7"}])),
    (r"nsjail", "", Found()),
    (r"sendalert cbsigned_enrich", "", Found([{}])),
    (r"cbsigned:enrichment", "", Found([{"cbsigned_status": "Unsigned", "orig_rid": "0"}])),
    (r"sendmodaction", "", Found([{"index": "cim_modactions", "count": "2"}])),
    (r"distributed/peers", "", Found([{"title": "idx1:8089"}])),
    (r"search/jobs", "", Found([{"sid": "1.2"}, {"sid": "remote_sh1_1.2"}])),
    (r"index=_\* earliest=0", "", Found()),
    (r"index=_internal \| head 5 ", "", Found([{"cbsigned_status": "Signed", "count": "5"}])),
]


class Scripted:
    """Answers as a Splunk on which everything holds, but for what a test spoils.

    Args:
        spoilt: Pattern of a search or route → what it gives instead.
    """

    def __init__(self, spoilt: Mapping[str, Any]) -> None:
        self.spoilt = spoilt
        self.waited = 0.0

    def search(self, spl: str, user: str = "") -> Found:
        for pattern, found in self.spoilt.items():
            if re.search(pattern, f"{user}:{spl}"):
                if isinstance(found, Exception):
                    raise found
                return found if isinstance(found, Found) else Found()
        return next(found for pattern, who, found in GOOD if who == user and re.search(pattern, spl))

    def ask(self, path: str, document: Mapping[str, Any], user: str = "") -> tuple[int, str]:
        del document
        given = self.spoilt.get(path)
        return given if isinstance(given, tuple) else (403, "") if user else (200, '{"uptime_s": 7}')

    def read(self, path: str, user: str = "") -> tuple[int, str]:
        given = self.spoilt.get(path.partition("?")[0])
        return given if isinstance(given, tuple) else (403, "") if user else (200, "{}")

    def wait(self, seconds: float) -> None:
        self.waited += seconds


def verdicts(**spoilt: Any) -> dict[str, Any]:
    return {finding.claim: finding.ok for finding in examine(Scripted(spoilt.get("spoilt", {})))}


def test_a_splunk_on_which_everything_holds_has_no_fault() -> None:
    found = verdicts()

    assert len(found) >= 18
    assert False not in found.values()
    assert list(found.values()).count(True) >= 14


@pytest.mark.parametrize(
    ("claim", "spoilt"),
    [
        ("new fields reach the events declare=true", {"count=3 .*declare=true": Found([{"kept": 'a"b'}] * 3)}),
        ("new fields reach the events declare=true", {"count=3 .*declare=true": replace(GOOD[0][2], rows=THREE[:2])}),
        ("works after stats", {"count=9": Found([{"count": "9"}])}),
        ("60,000 rows come out once each", {"60000": Found([{"count": "60000", "rows": "59999"}])}),
        ("lineage comes with statuses", {"cblineage": Found([{}])}),
        ("a wrong option is named to the user", {"soon": Found(THREE)}),
        ("a wrong option is named to the user", {"soon": Found(error="exited unexpectedly")}),
        ("an analyst may look up", {ANALYST: Found(error="no")}),
        ("who lacks cbsigned_use is told so", {PLAIN: Found(THREE)}),
        ("an analyst cannot read the token", {PASSWORDS: (200, '{"entry":[{}]}')}),
        ("an analyst cannot test settings", {"/services/cbsigned_admin/test": (200, "{}")}),
        ("eight questions at once are answered", {"/services/cbsigned/health": (500, "")}),
        ("the app's log is written and indexed", {"tstats": Found()}),
        ("sendalert writes its event", {"cbsigned:enrichment": Found()}),
        ("sendalert writes its event", {"cbsigned:enrichment": Found([{"cbsigned_status": "Unknown"}])}),
        ("sid on a peer begins with remote_", {"search/jobs": Found([{"sid": "1.2"}])}),
        ("no peer is asked to look up", {r"head 5 ": Found([{"cbsigned_status": "Unknown"}])}),
    ],
)  # fmt: skip
def test_each_claim_can_fail(claim: str, spoilt: Mapping[str, Any]) -> None:
    assert verdicts(spoilt=spoilt)[claim] is False


@pytest.mark.parametrize("pattern", ["count=3 .*cbsigned$", r"head 200"])
def test_whether_unnamed_fields_are_merged_is_learned_and_no_fault(pattern: str) -> None:
    found = verdicts(spoilt={pattern: Found()})

    assert False not in found.values()
    assert list(found.values()).count(True) == list(verdicts().values()).count(True) - 1


def test_without_peers_nothing_is_claimed_of_them() -> None:
    found = verdicts(spoilt={"distributed/peers": Found()})

    assert found["sid on a peer begins with remote_"] is None
    assert "no peer is asked to look up" not in found


def test_a_check_that_breaks_does_not_end_the_others() -> None:
    found = verdicts(spoilt={"tstats": OSError("gone")})

    assert found["Whether the jail, where there is one, lets the log files be written"] is False
    assert found["works after stats"] is True


def test_an_event_that_is_slow_to_be_indexed_is_waited_for() -> None:
    splunk = Scripted({"cbsigned:enrichment": Found()})

    list(examine(splunk, [real_splunk.alert_action]))

    assert splunk.waited == 60


def test_without_a_splunk_named_the_script_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CBSIGNED_SPLUNK_URL", raising=False)

    assert real_splunk.main() == 2
    assert "CBSIGNED_SPLUNK_URL" in capsys.readouterr().out


def test_the_password_is_not_shown() -> None:
    splunk = from_environment({"CBSIGNED_SPLUNK_URL": "https://127.0.0.1:8089", "CBSIGNED_SPLUNK_PASSWORD": "secret-1"})

    assert splunk is not None
    assert "secret-1" not in repr(splunk)
    assert splunk._secret not in repr(splunk)


def test_it_sets_the_app_up_as_the_setup_page_does(instance: Splunkd) -> None:
    from splunklib import client

    admin = instance.user("admin", "admin_all_objects", "edit_storage_passwords", "list_storage_passwords")
    analyst = instance.user(ANALYST, roles=("user", "cbsigned_user"))
    splunk = real_splunk.RealSplunk(instance.port.uri, "admin", "x", ssl.create_default_context())
    for name, user in (("", admin), (ANALYST, analyst)):
        address = urlsplit(instance.port.uri)
        splunk._services[name] = client.connect(
            host=address.hostname, port=address.port, token=user.session_key, owner="nobody", app="cbsigned"
        )

    for token in ("first", "second"):
        splunk.configure("https://cb.example.test", "/ca.pem", token)

    assert instance.management.passwords["cbsigned", "edr_token"] == "second"
    assert instance.conf.read("cbsigned")["edr"]["url"] == "https://cb.example.test"
    assert splunk.read("/servicesNS/nobody/cbsigned/storage/passwords?output_mode=json", ANALYST)[0] == 403
    assert splunk.ask("/services/cbsigned/health", {}, ANALYST)[0] == 200
    assert splunk.ask("/services/cbsigned_admin/test", {"settings": {}}, ANALYST)[0] == 403


@pytest.mark.live
@pytest.mark.skipif("CBSIGNED_SPLUNK_URL" not in os.environ, reason="no real Splunk is named; see docs/splunk.md")
def test_everything_holds_on_the_real_splunk(capsys: pytest.CaptureFixture[str]) -> None:
    code = real_splunk.main()

    assert code == 0, capsys.readouterr().out
