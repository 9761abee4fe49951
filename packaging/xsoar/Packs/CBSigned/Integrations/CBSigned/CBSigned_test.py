"""How the integration finds its core; what its commands answer is tested in tests/playbooks/xsoar."""

# ruff: noqa: S101

import base64
import io
import os
import stat
import sys
import zipfile

import CBSigned


def core_with(text):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("cbsigned_carried.py", text)
    return base64.b64encode(packed.getvalue()).decode()


def test_the_core_is_imported_from_a_file_of_this_user_alone(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(CBSigned, "CORE", core_with("ANSWER = 1"))

    CBSigned.load_core()
    CBSigned.load_core()

    import cbsigned_carried

    assert cbsigned_carried.ANSWER == 1
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in sys.path if "cbsigned-" in path] == [0o600]


def test_a_core_of_another_version_replaces_the_one_before(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for number in (1, 2):
        monkeypatch.setattr(CBSigned, "CORE", core_with(f"ANSWER = {number}"))
        CBSigned.load_core()
        import cbsigned_carried

        assert cbsigned_carried.ANSWER == number  # noqa: SIM300


def test_without_a_core_the_installed_packages_are_used(monkeypatch):
    monkeypatch.setattr(CBSigned, "CORE", "")
    before = list(sys.path)

    CBSigned.load_core()

    assert sys.path == before
