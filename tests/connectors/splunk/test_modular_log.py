"""The lines by which Enterprise Security knows what the alert action did: the vendor's form to the letter."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cbsigned_connectors.splunk.modular_log import INVOKING, Invocation, ModularLog

AT = datetime(2026, 11, 22, 1, 2, 3, 4999, tzinfo=timezone.utc)
RUN = Invocation(
    action_name="cb_ban", worker="sh1", search_name="Rare and unsigned", sid="scheduler__admin__1_at_9", app="search",
    user="admin",
)  # fmt: skip


def lines(tmp_path: Path, run: Invocation = RUN, **ids: str) -> list[str]:
    log = ModularLog(tmp_path / "x_modalert.log", run, now=lambda: AT)
    log.invoking(ids)
    log.finished(ids, "Successfully banned", success=True)
    return (tmp_path / "x_modalert.log").read_text(encoding="utf-8").splitlines()


def test_a_line_has_the_form_that_es_reads(tmp_path: Path) -> None:
    assert lines(tmp_path, RUN, rid="0", orig_sid="sid 7", orig_rid="0")[1] == (
        '2026-11-22 01:02:03,004+0000 INFO sendmodaction - worker="sh1" signature="Successfully banned" '
        'action_name="cb_ban" search_name="Rare and unsigned" sid="scheduler__admin__1_at_9" orig_sid="sid 7" rid="0" '
        'orig_rid="0" app="search" user="admin" digest_mode="1" action_mode="saved" action_status="success"'
    )


def test_the_line_before_a_result_says_that_the_action_was_invoked_and_has_no_status(tmp_path: Path) -> None:
    first = lines(tmp_path, rid="3")[0]

    assert f'signature="{INVOKING}"' in first
    assert 'rid="3"' in first
    assert "action_status" not in first


def test_empty_keys_are_left_out(tmp_path: Path) -> None:
    found = lines(tmp_path, Invocation(action_name="a", sid="1448.12"), rid="0")[1]

    assert re.findall(r"(\w+)=", found) == [
        "signature", "action_name", "sid", "rid", "digest_mode", "action_mode", "action_status",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sid", "mode"), [("scheduler__nobody__x_at_1_2", "saved"), ("rt_scheduler__a", "saved"), ("1448.12", "adhoc")]
)
def test_a_scheduled_search_is_saved_and_any_other_ad_hoc(tmp_path: Path, sid: str, mode: str) -> None:
    assert f'action_mode="{mode}"' in lines(tmp_path, Invocation(action_name="a", sid=sid))[0]


def test_a_run_for_one_result_is_not_digest_mode(tmp_path: Path) -> None:
    assert 'digest_mode="0"' in lines(tmp_path, Invocation(action_name="a", digest_mode=False))[0]


def test_a_failure_is_an_error_with_status_failure(tmp_path: Path) -> None:
    log = ModularLog(tmp_path / "x.log", RUN, now=lambda: AT)

    log.finished({"rid": "1"}, "The handler gave no answer", success=False)

    (line,) = (tmp_path / "x.log").read_text(encoding="utf-8").splitlines()
    assert line.startswith("2026-11-22 01:02:03,004+0000 ERROR sendmodaction - ")
    assert line.endswith('action_status="failure"')


def test_names_from_outside_cannot_forge_a_status(tmp_path: Path) -> None:
    hostile = Invocation(action_name="a", search_name='x" action_status="success"\n2026 INFO sendmodaction - a="\\')

    found = lines(tmp_path, hostile, rid='0" user="root')

    assert len(found) == 2
    assert 'action_status="success"' not in found[0]
    assert re.findall(r'(\w+)="', found[0]).count("user") == 0


def test_a_log_that_cannot_be_written_is_known_and_not_raised(tmp_path: Path) -> None:
    nowhere, missing = ModularLog(None, RUN), ModularLog(tmp_path / "no" / "x.log", RUN)

    nowhere.invoking({})
    missing.finished({}, "done", success=True)

    assert not nowhere.written
    assert not missing.written
