"""The app's log: whole lines whatever is in them, moved away when long, and never a reason to fail."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbsigned_connectors.splunk.logs import LineHandler, append, attach, log_folder, one_line, pairs, rotate

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 [A-Z]+ pid=\d+( [a-z_]+=\"[^\"]*\")+")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger("cbsigned.test_logs")
    yield found
    for name in ("cbsigned", "cbsigned_connectors", found.name):
        one = logging.getLogger(name)
        for handler in [h for h in one.handlers if isinstance(h, LineHandler)]:
            one.removeHandler(handler)
        one.setLevel(logging.NOTSET)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "var/log/splunk").mkdir(parents=True)
    return tmp_path


def test_a_line_has_time_with_offset_level_process_command_and_pairs(logger: logging.Logger, home: Path) -> None:
    attach({"SPLUNK_HOME": str(home)}, "handler", sid="1448.12")

    logger.warning("Asked %s twice", "cb.example.test", extra={"pairs": {"rows": 10, "took_s": 0.5}})

    text = (home / "var/log/splunk/cbsigned.log").read_text(encoding="utf-8")
    assert LINE.fullmatch(text.rstrip("\n"))
    assert f' WARNING pid={os.getpid()} sid="1448.12" command="handler" logger="cbsigned.test_logs" ' in text
    assert text.endswith('message="Asked cb.example.test twice" rows="10" took_s="0.5"\n')


def test_lines_below_the_level_are_not_written(logger: logging.Logger, home: Path) -> None:
    attach({"SPLUNK_HOME": str(home)}, "handler", level="WARNING")

    logger.info("nothing")

    assert not (home / "var/log/splunk/cbsigned.log").exists()


def test_attaching_again_writes_no_line_twice(logger: logging.Logger, home: Path) -> None:
    attach({"SPLUNK_HOME": str(home)}, "handler")
    attach({"SPLUNK_HOME": str(home)}, "handler")

    logger.info("once")

    assert (home / "var/log/splunk/cbsigned.log").read_text(encoding="utf-8").count("\n") == 1


def test_outside_splunk_nothing_is_attached() -> None:
    assert attach({}, "handler") is None
    assert log_folder({"SPLUNK_HOME": ""}) is None


@pytest.mark.parametrize(
    "value",
    [
        'a" level="ERROR', '\\"', "back\\", "a\nb", "a\r\nb", "a\u2028b", "a\u0085b", "a\x00b", "a\x1bb", "a\udcffb",
        "a\u202eb",
    ],
)  # fmt: skip
def test_no_value_breaks_out_of_its_quotes_or_its_line(tmp_path: Path, value: str) -> None:
    path = tmp_path / "x.log"

    assert append(path, pairs({"first": value, "last": "end"}))

    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1
    assert re.fullmatch(r'first="(?:[^"\\]|\\.)*" last="end"\n', text), "read with escapes"
    assert re.fullmatch(r'first="[^"]*" last="end"\n', text), "read without"
    assert all(c.isprintable() for c in text[:-1])


def test_empty_values_are_left_out_and_zero_is_not() -> None:
    assert pairs({"a": "", "b": None, "c": 0}) == 'c="0"'


def test_a_long_value_is_cut_and_says_so() -> None:
    assert one_line("x" * 10, 4) == "xxxx…"
    assert one_line("x" * 4, 4) == "xxxx"


def test_a_traceback_is_one_line_and_ends_with_the_error(logger: logging.Logger, home: Path) -> None:
    attach({"SPLUNK_HOME": str(home)}, "handler")

    try:
        raise ValueError('two\nlines and a "quote"')
    except ValueError:
        logger.exception("It broke")

    text = (home / "var/log/splunk/cbsigned.log").read_text(encoding="utf-8")
    assert LINE.fullmatch(text.rstrip("\n"))
    assert "lines and a 'quote'\"" in text
    assert "test_logs.py" in text


def test_a_log_that_cannot_be_written_changes_nothing(logger: logging.Logger, tmp_path: Path) -> None:
    attach({"SPLUNK_HOME": str(tmp_path / "not there")}, "handler", rotate=True)

    logger.error("nobody reads this")

    assert list(tmp_path.iterdir()) == []


def test_a_record_with_wrong_arguments_says_so_and_is_not_raised(tmp_path: Path) -> None:
    handler = LineHandler(tmp_path / "x.log", "handler")

    handler.emit(logging.LogRecord("cbsigned", logging.INFO, __file__, 1, "%s and %s", ("one",), None))

    text = (tmp_path / "x.log").read_text(encoding="utf-8")
    assert 'message="%s and %s (its arguments do not fit)"' in text
    assert "one" not in text


def test_a_log_that_has_grown_is_moved_and_the_oldest_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    for number in range(4):
        append(path, f"{number} " + "x" * 50)
        assert rotate(path, max_bytes=40, kept=2)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.log.1", "x.log.2"]
    assert (tmp_path / "x.log.1").read_text(encoding="utf-8")[0] == "3"
    assert (tmp_path / "x.log.2").read_text(encoding="utf-8")[0] == "2"


def test_only_who_may_rotate_moves_the_logs(
    logger: logging.Logger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotate, "__defaults__", (40, 2))
    folder = home / "var/log/splunk"
    for name in ("cbsigned.log", "cbsigned_enrich_modalert.log"):
        append(folder / name, "x" * 50)

    attach({"SPLUNK_HOME": str(home)}, "cbsigned")
    logger.info("from a search")
    assert not (folder / "cbsigned.log.1").exists()

    attach({"SPLUNK_HOME": str(home)}, "handler", rotate=True)
    logger.info("from the handler")
    assert (folder / "cbsigned.log.1").exists()
    assert (folder / "cbsigned_enrich_modalert.log.1").exists()
    assert (folder / "cbsigned.log").read_text(encoding="utf-8").count("\n") == 1


def test_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    writers = [threading.Thread(target=lambda n=n: [append(path, f"{n}" * 400) for _ in range(50)]) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 400
    assert all(len(line) == 400 and len(set(line)) == 1 for line in lines)


def test_the_log_is_for_splunks_user_alone(tmp_path: Path) -> None:
    append(tmp_path / "x.log", "line")

    assert (tmp_path / "x.log").stat().st_mode & 0o077 == 0
