"""The job protocol itself: what is read, refused, hidden and written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cbsigned_playbooks.cortex_job import Job, JobRefused, run
from playbooks.cortex.jobs import done_here, given, job_folder

SECRET = "0123456789abcdef0123456789abcdef01234567"


def _echo(job: Job) -> dict[str, Any]:
    return {"success": True, "full": {"data": job.data}}


def _refuse(job: Job) -> dict[str, Any]:
    raise JobRefused(f"The EDR refused {job.config.get('api_key')}.")


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null", "NaN", "[" * 100_000])
def test_an_input_that_is_no_job_fails_with_words(tmp_path: Path, text: str) -> None:
    done = done_here(tmp_path / "job", text, _echo)

    assert done.code == 1
    assert done.report["errorMessage"].startswith("The job ")


def test_an_input_that_is_not_utf_8_fails_with_words(tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "job", "")
    (folder / "input" / "input.json").write_bytes(b'{"data": "\xff"}')

    assert run(_echo, [str(folder)], io.StringIO(), io.StringIO()) == 1


def test_a_terminal_is_told_what_to_give(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = io.StringIO()
    code = run(_echo, [str(tmp_path)], Terminal(), out)

    assert code == 1
    assert "input/input.json" in json.loads(out.getvalue())["errorMessage"]


@pytest.mark.parametrize("level", ["3", True, {}, [], float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["tlp", "pap"])
def test_a_level_that_is_no_number_is_refused_rather_than_passed(tmp_path: Path, name: str, level: Any) -> None:
    done = done_here(tmp_path / "job", given("x", "hash", "x", {}, **{name: level}), _echo)

    assert done.code == 1
    assert name in done.report["errorMessage"]


@pytest.mark.parametrize(("name", "own", "limit", "checked", "code"), [
    ("tlp", 3, 2, True, 1), ("tlp", 2, 2, True, 0), ("tlp", 3, 2, False, 0), ("tlp", 3, 3, True, 0),
    ("tlp", None, 1, True, 1), ("pap", 3, 2, True, 1), ("pap", 0, 0, True, 0), ("tlp", 3, None, True, 1),
])  # fmt: skip
def test_limits_are_those_of_the_administrator(
    tmp_path: Path, name: str, own: Any, limit: Any, checked: bool, code: int
) -> None:
    """No limit given is amber, and so is an observable without a mark, as cortexutils has it."""
    config = {f"check_{name}": checked, f"max_{name}": limit}

    assert done_here(tmp_path / "job", given("x", "hash", "x", config, **{name: own}), _echo).code == code


def test_no_secret_is_in_a_failure_wherever_it_stands(tmp_path: Path) -> None:
    config = {
        "api_key": SECRET, "Password": "hunter2hunter2", "x_token": "tttttttt", "proxy_http": "http://u:pw@proxy:3128",
        "proxy": {"https": "http://u:pw@proxy:3128", "secret": "ssssssss"}, "notes": ["https://a:b@example.test"],
    }  # fmt: skip

    data = {"description": [f"text with {SECRET}"], "title": f"{SECRET}"}  # a case, of a responder

    done = done_here(tmp_path / "job", given("x", "thehive:case", data, config), _refuse)

    text = json.dumps(done.report)
    assert [one for one in (SECRET, "hunter2", "tttttttt", "u:pw", "ssssssss", "a:b@") if one in text] == []
    assert done.report["input"]["config"]["proxy_http"] == "http://REMOVED@proxy:3128"
    assert done.report["errorMessage"] == "The EDR refused REMOVED."


def test_half_a_surrogate_pair_is_written_all_the_same(tmp_path: Path) -> None:
    done = done_here(tmp_path / "job", given("x", "other", "\ud83d", {}), _echo)

    assert done.report["full"]["data"] == "\ud83d"


def test_a_bug_leaves_no_report_so_that_cortex_shows_its_traceback(tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "job", given("x", "hash", "x", {}))

    with pytest.raises(ZeroDivisionError):
        run(lambda job: {"success": 1 / 0}, [str(folder)], io.StringIO(), io.StringIO())

    assert list((folder / "output").iterdir()) == []


def test_the_proxy_is_that_of_the_address() -> None:
    job = Job({"config": {"proxy": {"http": "http://one:1", "https": "http://two:2"}, "proxy_https": "http://no:3"}})

    assert job.proxy_for("https://cb.example.test") == "http://two:2"
    assert job.proxy_for("http://cb.example.test") == "http://one:1"
    assert Job({"config": {"proxy_https": "http://two:2"}}).proxy_for("https://cb.example.test") == "http://two:2"
    assert Job({"config": {"proxy": "http://two:2"}}).proxy_for("https://cb.example.test") is None


def test_authorities_of_cortex_are_found(tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "job", "{}", {"cacerts": b"-----BEGIN"})

    assert Job({}, folder).authorities() == folder / "input" / "cacerts"
    assert Job({}, tmp_path).authorities() is None
