"""The app's conf files agree with the code that they configure, and with each other."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from cbsigned.binary import unknown_signature
from cbsigned.gaps import Cause
from cbsigned.settings import specs
from cbsigned.status import SigningStatus
from cbsigned_connectors.splunk import handler
from cbsigned_connectors.splunk.alert_events import SOURCETYPE
from cbsigned_connectors.splunk.alert_payload import PARAMETERS
from cbsigned_connectors.splunk.configuration import NAMES
from cbsigned_connectors.splunk.kvstore import VerdictTable
from cbsigned_connectors.splunk.options import COMMANDS
from connectors.splunk.conf_files import APP, conf
from connectors.splunk.test_package import script

RENEW = "python packaging/splunk/searchbnf.py writes the options anew"
BOTH = {"python.version": "python3", "python.required": "3.9,3.13"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_declared_for_both_pythons(command: str) -> None:
    stanza = conf("commands.conf")[command]

    assert stanza == {
        "filename": f"run_{command}.py", "chunked": "true", "is_risky": "false", "maxwait": "0", **BOTH,
    }  # fmt: skip
    assert (APP / "bin" / stanza["filename"]).is_file()
    assert set(conf("commands.conf")) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_search_assistant_knows_every_option_as_the_command_does(command: str) -> None:
    help_texts = conf("searchbnf.conf")
    stanza = help_texts[f"{command}-command"]
    options = help_texts.get(f"{command}-options", {"syntax": "", "description": ""})
    told = {line.partition(":")[0]: line.strip() for line in options["description"].split("\n") if line}

    assert re.findall(r"(\w+)=<", options["syntax"]) == [option.name for option in COMMANDS[command]]
    assert told == {o.name: f"{o.name}: {o.help}; {o.expected}. {o.hint}." for o in COMMANDS[command]}, RENEW
    required = {option.name for option in COMMANDS[command] if option.default is None}
    assert set(re.findall(r"(\w+)=<", stanza["syntax"])) == required
    assert (f"<{command}-options>" in stanza["syntax"]) is bool(COMMANDS[command])
    assert stanza["usage"] == "public"
    assert stanza["shortdesc"]
    assert re.search(rf"\| {command}\b", stanza["example1"])
    examples = {key[7:] for key in stanza if key.startswith("example")}
    assert examples == {key[7:] for key in stanza if key.startswith("comment")}


def test_the_script_that_renews_the_options_leaves_the_rest_as_it_is() -> None:
    text = (APP / "default/searchbnf.conf").read_text(encoding="utf-8")

    assert script("searchbnf").renewed(text) == text, RENEW


def test_examples_use_options_that_exist() -> None:
    for stanza in conf("searchbnf.conf").values():
        for text in (value for key, value in stanza.items() if key.startswith("example")):
            for command, rest in re.findall(r"\| (cb\w+)([^|]*)", text):
                given = set(re.findall(r"(\w+)=", re.sub(r'"[^"]*"', '""', rest)))
                assert given <= {option.name for option in COMMANDS[command]}


def test_the_handlers_routes_ask_for_a_capability_and_hand_over_the_systems_authority() -> None:
    stanzas = conf("restmap.conf")
    same = {
        "script": "cbsigned_handler.py", "scripttype": "persist", "handler": "cbsigned_handler.CbsignedHandler",
        "requireAuthentication": "true", "passSystemAuth": "true", "passPayload": "true", "passConf": "true",
        "output_modes": "json", **BOTH,
    }  # fmt: skip

    assert stanzas == {
        "script:cbsigned_api": {"match": "/cbsigned", "capability": "cbsigned_use", **same},
        "script:cbsigned_admin": {"match": "/cbsigned_admin", "capability": "cbsigned_manage", **same},
    }
    shim = (APP / "bin" / "cbsigned_handler.py").read_text(encoding="utf-8")
    assert "class CbsignedHandler(PersistentServerConnectionApplication)" in shim
    assert callable(handler.start)


def test_a_browser_reaches_the_connection_test_and_no_other_route_of_ours() -> None:
    assert conf("web.conf") == {"expose:cbsigned_admin_test": {"pattern": "cbsigned_admin/test", "methods": "POST"}}


def test_roles_get_our_capabilities_and_no_other() -> None:
    stanzas = conf("authorize.conf")
    declared = {name.partition("::")[2] for name in stanzas if name.startswith("capability::")}
    given = {name: set(s) - {"importRoles"} for name, s in stanzas.items() if name.startswith("role_")}

    assert declared == {"cbsigned_use", "cbsigned_manage"}
    assert set().union(*given.values()) == declared
    assert given["role_cbsigned_user"] == {"cbsigned_use"}
    assert stanzas["role_cbsigned_user"]["importRoles"] == "user"
    assert stanzas["role_cbsigned_admin"]["importRoles"] == "cbsigned_user"


def test_the_settings_file_has_the_cores_names_defaults_and_ranges() -> None:
    shipped, told = conf("cbsigned.conf"), conf_text("README/cbsigned.conf.spec")
    core = {(spec.section, spec.name): spec for spec in specs()}

    assert {section: tuple(sorted(names)) for section, names in shipped.items()} == {
        section: tuple(sorted(names)) for section, names in NAMES.items()
    }
    for section, values in shipped.items():
        for name, value in values.items():
            spec = core[section, name]
            assert value == spec.default
            part = told[section][name]
            assert f"Default: {spec.default}" in part or "Default: empty" in part
            if spec.high:
                assert f"{spec.low:.15g} to {spec.high:.15g}" in part


def conf_text(name: str) -> dict[str, dict[str, str]]:
    """Return what a spec file says of each setting, by stanza."""
    found: dict[str, dict[str, str]] = {}
    for stanza in re.split(r"(?m)^\[", (APP / name).read_text(encoding="utf-8"))[1:]:
        head, _, rest = stanza.partition("]")
        found[head] = dict(re.findall(r"(?m)^([\w.]+) = <.*>\n((?:\* .*\n?)+)", rest))
    return found


def test_a_change_of_the_settings_asks_for_no_restart_and_reaches_the_cluster() -> None:
    assert conf("app.conf")["triggers"] == {"reload.cbsigned": "simple"}
    assert conf("server.conf") == {"shclustering": {"conf_replication_include.cbsigned": "true"}}
    assert conf("app.conf")["install"]["is_configured"] == "0"


class Recorded:
    """A KV store that keeps what it is told to save."""

    def __init__(self) -> None:
        self.saved: list[dict[str, Any]] = []

    def save(self, _collection: str, rows: list[dict[str, Any]]) -> None:
        self.saved += rows

    def clean(self, _collection: str, query: dict[str, Any]) -> None:
        self.query = query


def test_the_verdict_lookup_has_the_fields_that_the_handler_writes_and_replicates_to_indexers() -> None:
    store = Recorded()
    signature = replace(unknown_signature("0" * 32, Cause.NOT_ASKED, "why"), status=SigningStatus.EXPIRED)
    VerdictTable(store).write([signature])  # type: ignore[arg-type]
    (written,) = store.saved

    collections, lookup = conf("collections.conf"), conf("transforms.conf")["cbsigned_verdicts"]
    fields = {key[6:]: kind for key, kind in collections["cbsigned_verdicts"].items() if key.startswith("field.")}
    assert set(written) == {"_key", *fields}
    assert {n: "number" if isinstance(written[n], (int, float)) else "string" for n in fields} == fields
    assert lookup["fields_list"].split(", ") == ["_key", *fields]
    assert lookup["external_type"] == "kvstore"
    assert collections["cbsigned_verdicts"]["replicate"] == "true"
    assert collections["cbsigned_cache"]["replicate"] == "false"


def test_analysts_can_use_everything_change_nothing_and_read_no_secret() -> None:
    meta = conf("default.meta", APP / "metadata")

    assert meta[""] == {"access": "read : [ * ], write : [ admin, sc_admin ]", "export": "none"}
    exported = {name for name, stanza in meta.items() if stanza.get("export") == "system"}
    assert exported == {
        "commands", "searchbnf", "alert_actions", "alerts", "workflow_actions", "macros", "transforms", "lookups",
        "collections/cbsigned_verdicts",
    }  # fmt: skip
    for stanza in meta.values():
        assert "write : [ * ]" not in stanza.get("access", "")
        assert "admin, sc_admin" in stanza.get("access", "admin, sc_admin")
    for name in ("collections/cbsigned_cache", "cbsigned", "views/setup"):
        assert "read : [ *" not in meta[name]["access"]
    assert not any("passwords" in name for name in meta)


def test_the_alert_action_is_declared_with_the_parameters_that_it_reads() -> None:
    stanza = conf("alert_actions.conf")["cbsigned_enrich"]
    given = {key[6:]: value for key, value in stanza.items() if key.startswith("param.") and key != "param._cam"}
    cam = json.loads(stanza["param._cam"])
    spec = conf_text("README/alert_actions.conf.spec")["cbsigned_enrich"]
    page = ElementTree.parse(APP / "default/data/ui/alerts/cbsigned_enrich.html")  # noqa: S314 (our own)
    inputs = {e.attrib["name"]: e.attrib["id"] for e in page.iter() if "name" in e.attrib}

    assert given == {name: parameter.default for name, parameter in PARAMETERS.items()}
    assert {key: stanza[key] for key in BOTH} == BOTH
    assert (stanza["is_custom"], stanza["payload_format"], stanza["maxtime"]) == ("1", "json", "5m")
    assert cam["supports_adhoc"] is True
    assert set(cam["required_params"]) <= set(PARAMETERS)
    for name, parameter in PARAMETERS.items():
        assert parameter.text in spec[f"param.{name}"]
        assert f"Expected: {parameter.range}. Example: {parameter.example}" in spec[f"param.{name}"]
        assert f"Default: {parameter.default}" in spec[f"param.{name}"]
        assert f"action.cbsigned_enrich.param.{name}" in inputs
        assert f"action.cbsigned_enrich.param.{name} = <" in (APP / "README/savedsearches.conf.spec").read_text()
    assert set(inputs.values()) == {e.attrib["for"] for e in page.iter("label")}
    assert next(page.iter("script"), None) is None
    assert (APP / "appserver/static" / stanza["icon_path"]).is_file()
    assert (APP / "bin/cbsigned_enrich.py").is_file()
    assert SOURCETYPE in conf("props.conf")
    assert SOURCETYPE.replace(":", "%3A") in cam["drilldown_uri"]


@pytest.mark.parametrize("name", conf("workflow_actions.conf"))
def test_workflow_actions_lead_to_our_dashboards_with_the_value_as_a_form_token(name: str) -> None:
    action = conf("workflow_actions.conf")[name]
    link = re.fullmatch(r"/app/cbsigned/(\w+)\?form\.(\w+)=\$(@field_value|\w+)\$", action["link.uri"])

    assert action["type"] == "link"
    assert link is not None
    view = ElementTree.parse(APP / f"default/data/ui/views/{link[1]}.xml")  # noqa: S314 (our own)
    assert link[2] in {e.attrib["token"] for e in view.iter("input")}
    assert (link[3] == "@field_value") is (action["display_location"] == "field_menu")
    assert "*" not in action["fields"]
    assert re.search(r"\$!", action["link.uri"]) is None


def test_workflow_actions_are_offered_on_hashes_guids_and_addresses() -> None:
    fields = {name: action["fields"].split(", ") for name, action in conf("workflow_actions.conf").items()}

    for name in ("cbsigned_status", "cbsigned_binary", "cbsigned_who_touched"):
        assert {"md5", "process_md5", "sha256", "file_hash"} - {*fields[name], "process_md5"} == set()
    for name in ("cbsigned_lineage", "cbsigned_console"):
        assert {"process_guid", "parent_process_guid"} <= set(fields[name])
    assert {"src_ip", "dest_ip", "remote_ip"} <= set(fields["cbsigned_address"])


def test_the_example_search_is_disabled_bounded_and_carries_risk_fields() -> None:
    (search,) = conf("savedsearches.conf").values()

    assert (search["disabled"], search["enableSched"]) == ("1", "0")
    assert search["dispatch.earliest_time"]
    assert search["dispatch.latest_time"]
    assert re.fullmatch(r"\d{1,2} \* \* \* \*", search["cron_schedule"])
    for name in ("risk_score", "risk_object", "risk_object_type", "threat_object"):
        assert re.search(rf"\b{name}=", search["search"])
    assert search["search"].index("stats") < search["search"].index("| cbsigned ")


def test_the_risk_message_is_there_for_events_without_a_path() -> None:
    """In eval a text joined with nothing is nothing: files of events without `path` had no risk_message."""
    (search,) = conf("savedsearches.conf").values()

    (message,) = re.findall(r"risk_message=(.*)", search["search"])
    assert "coalesce(mvindex(process_path, 0), cbsigned_hash)" in message
    optional = re.sub(r"coalesce\(.*, cbsigned_hash\)", "", message)
    assert set(re.findall(r"\b[a-z]\w*\b", re.sub(r'"[^"]*"', "", optional))) == {
        "cbsigned_status", "hosts", "cbsigned_why",
    }  # fmt: skip


def used_macros() -> set[str]:
    places = [*APP.glob("default/data/ui/views/*.xml"), APP / "default/savedsearches.conf", APP / "default/macros.conf"]
    text = "".join(re.sub(r"(?m)^#.*$", "", path.read_text(encoding="utf-8")) for path in places)
    return {f"{name}(1)" if args else name for name, args in re.findall(r"`(\w+)(\([^`]*\))?`", text)}


def test_every_macro_that_is_used_exists_and_the_others_are_for_users() -> None:
    macros = conf("macros.conf")

    assert used_macros() <= set(macros)
    assert set(macros) - used_macros() == {"cbsigned_enrich(1)", "cbsigned_enrich_lineage(1)", "cbsigned_known(1)"}
    for name, macro in macros.items():
        assert name.endswith("(1)") is ("args" in macro)


def test_the_words_for_a_signature_that_does_not_hold_are_all_the_others() -> None:
    words = re.findall(r'"([^"]+)"', conf("macros.conf")["cbsigned_invalid"]["definition"])

    others = {SigningStatus.SIGNED, SigningStatus.UNSIGNED, SigningStatus.UNKNOWN}
    assert set(words) == {status.value for status in SigningStatus if status not in others}


MD5, SHA256 = "b0a3ecc9eaa2521ddea2fc067785b84e", "ab" * 32
GUID = "00000001-0000-0f40-01d2-e4ee910d2930"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MD5.upper(), {"md5": MD5}),
        (f" {SHA256}\n", {"sha256": SHA256}),
        (f"SHA1={'0' * 40},MD5={MD5},SHA256={SHA256}", {"md5": MD5, "sha256": SHA256}),
        (GUID, {"guid": GUID}),
        (f"{GUID}-0178ef7c49a8", {"guid": GUID}),
        ("10.20.30.40", {"ip": "10.20.30.40"}),
        ("2001:DB8::7", {"ip": "2001:db8::7"}),
        (f"{MD5} or process_name:*", {"md5": MD5}),
        (f"{GUID} or *:*", {}),
        (f"{GUID}\nor *:*", {"guid": GUID}),
        ("10.20.30.40 or hostname:*", {}),
        ('" | delete', {}),
        ("1" * 31, {}),
        ("1" * 33, {}),
        ("12:30", {}),
        ("", {}),
    ],
)
def test_a_value_from_an_event_reaches_a_query_as_what_it_is_or_not_at_all(
    value: str, expected: dict[str, str]
) -> None:
    patterns = re.findall(
        r'rex field=cbsigned_text "(.*)"', conf("macros.conf")["cbsigned_observable(1)"]["definition"]
    )
    text = value.strip(" \t\n").lower()

    found: dict[str, str] = {}
    for pattern in patterns:
        match = re.search(pattern.replace("(?<cbsigned_", "(?P<cbsigned_"), text)
        found.update(match.groupdict() if match else {})

    assert {name.replace("cbsigned_", ""): value for name, value in found.items()} == expected
