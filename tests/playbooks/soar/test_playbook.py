"""The example playbook, with the app under the SDK behind `phantom.act`.

Its platform is a double of five functions of `phantom.rules`, since the platform itself cannot be had: artifacts are
collected, actions run for real against the EDR stand-in, and what is written on the event is kept.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Optional

import pytest
from golden import DEEP_GUID, Edr, guid_at
from sdk_app import PACKAGING, SdkApp

MD5_OF = {"Signed": "a0" * 16, "Unsigned": "a1" * 16, "Bad Signature": "a3" * 16}


class Platform(ModuleType):
    """What the playbook asks of `phantom.rules`.

    Args:
        app: Runs the actions.
        asset: Its settings.
        artifacts: Of the event, CEF fields each.
    """

    def __init__(self, app: SdkApp, asset: dict[str, Any], artifacts: list[dict[str, Any]]) -> None:
        super().__init__("phantom.rules")
        self.app, self.asset, self.artifacts = app, asset, artifacts
        self.notes: list[dict[str, Any]] = []
        self.comments: list[str] = []
        self.severity: Optional[str] = None
        self.asked: list[tuple[str, list[dict[str, Any]]]] = []
        self._waiting: list[Callable[[], None]] = []

    def act(
        self,
        action: str,
        parameters: list[dict[str, Any]],
        assets: list[str],
        callback: Callable[..., None],
        name: str,
    ) -> None:
        """Run an action once for each set of parameters; the callback comes after the function that called."""
        assert assets == ["carbon_black_edr"]
        self.asked.append((action, parameters))
        found = [self.app.action(action.replace(" ", "_"), given, self.asset) for given in parameters]
        words = {True: "success", False: "failed"}
        told = [{"data": r["data"], "status": words[r["ok"]], "message": r["message"]} for r in found]
        run = {"action": {"action": action, "name": name}, "success": any(r["ok"] for r in found)}
        results = [{"action_results": told, "name": name}]
        self._waiting.append(lambda: callback(container={"id": 1}, results=results, handle=None, **run))

    def collect2(self, container: Any, datapath: list[str], scope: str) -> list[list[Any]]:
        fields = [path.removeprefix("artifact:*.cef.") for path in datapath]
        return [[artifact.get(field) for field in fields] for artifact in self.artifacts]

    def add_note(self, **given: Any) -> None:
        self.notes.append(given)

    def comment(self, container: Any, comment: str) -> None:
        self.comments.append(comment)

    def set_severity(self, container: Any, severity: str) -> None:
        self.severity = severity

    def run(self) -> None:
        """Run the playbook on the event."""
        sys.modules["phantom"], sys.modules["phantom.rules"] = ModuleType("phantom"), self
        sys.modules["phantom"].rules = self  # type: ignore[attr-defined]
        path = PACKAGING / "playbooks" / "cbsigned_enrich_artifacts.py"
        spec = importlib.util.spec_from_file_location("cbsigned_enrich_artifacts", path)
        assert spec is not None
        assert spec.loader is not None
        playbook = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(playbook)
        playbook.on_start({"id": 1})
        for call in self._waiting:
            call()
        playbook.on_finish({"id": 1}, "")


@pytest.fixture(autouse=True)
def _no_phantom_afterwards() -> Iterator[None]:
    yield
    for name in ("phantom", "phantom.rules"):
        sys.modules.pop(name, None)


def test_the_playbook_notes_status_and_lineage_and_raises_the_severity(app: SdkApp, edr: Edr) -> None:
    artifacts: list[dict[str, Any]] = [
        {"fileHash": MD5_OF["Signed"], "processGuid": DEEP_GUID},
        {"fileHashMd5": MD5_OF["Bad Signature"], "fileHash": MD5_OF["Signed"]},
        {"sourceAddress": "10.0.0.1"},
    ]
    platform = Platform(app, edr.configuration, artifacts)

    platform.run()

    assert [action for action, _given in platform.asked] == ["signing status", "process lineage"]
    assert platform.asked[0][1] == [{"hashes": f"{MD5_OF['Signed']}, {MD5_OF['Bad Signature']}"}]
    signing, lineage = (note["content"] for note in platform.notes)
    assert f"- **Signed** {MD5_OF['Signed']}: Signed by &lt;b>Example&lt;/b>" in signing
    assert f"- **Bad Signature** {MD5_OF['Bad Signature']}: " in signing
    assert [pid for pid in range(4096, 4096 + 13) if f"pid {pid}" not in lineage] == []
    assert platform.severity == "high"


def test_the_playbook_raises_nothing_for_unsigned_and_unknown(app: SdkApp, edr: Edr) -> None:
    platform = Platform(app, edr.configuration, [{"md5": MD5_OF["Unsigned"]}, {"md5": "fe" * 16}, {"md5": "nohash"}])

    platform.run()

    notes = [note["content"].splitlines() for note in platform.notes]
    assert [[line[:12] for line in lines] for lines in notes] == [["- **Unsigned", "- **Unknown*", "- **Unknown*"]]
    assert platform.severity is None


def test_the_playbook_notes_what_was_not_answered_when_the_edr_is_down(app: SdkApp) -> None:
    asset = {"url": "http://127.0.0.1:9", "api_key": "0" * 40}
    platform = Platform(app, asset, [{"fileHash": MD5_OF["Signed"], "processGuid": DEEP_GUID}])

    platform.run()

    assert len(platform.notes) == 2
    assert all("Not answered: 127.0.0.1:9 refused the connection" in note["content"] for note in platform.notes)
    assert platform.severity is None


def test_the_playbook_says_how_many_processes_it_leaves_out(app: SdkApp) -> None:
    artifacts = [{"processGuid": guid_at(0)[:-2] + f"{number:02x}"} for number in range(12)]
    platform = Platform(app, {"url": "http://127.0.0.1:9", "api_key": "0" * 40}, artifacts)

    platform.run()

    assert len(platform.asked[0][1]) == 10
    assert platform.comments == ["2 of 12 processes of this event were not looked up."]


def test_the_playbook_writes_no_letters_that_turn_a_text_round(app: SdkApp, edr: Edr) -> None:
    platform = Platform(app, edr.configuration, [{"processGuid": guid_at(7)}])  # its name begins with U+202E

    platform.run()

    assert platform.notes[0]["content"].startswith("?fdp.exe")
    assert "\u202e" not in platform.notes[0]["content"]


def test_the_playbook_says_so_when_there_is_nothing_to_ask(app: SdkApp, edr: Edr) -> None:
    platform = Platform(app, edr.configuration, [{"sourceAddress": "10.0.0.1"}])

    platform.run()

    assert (platform.asked, platform.notes) == ([], [])
    assert platform.comments == ["No artifact of this event has a hash or a process guid."]
