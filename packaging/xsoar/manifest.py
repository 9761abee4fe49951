"""Make the files of the Cortex XSOAR pack that follow from the definition of the actions.

`Packs/CBSigned/` below this folder is the pack as the content repository has it; written by hand in it are the
integration's Python and the image that `image.py` draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from bundle import version
from manifests import environment, measured, span

from cbsigned.status import SigningStatus
from cbsigned_playbooks.catalogue import CONFIGURATION, action_named
from cbsigned_playbooks.definition import Action, Kind, Parameter
from cbsigned_playbooks.xsoar import BRAND, COMMANDS, LEFT_OUT, Command

HERE = Path(__file__).resolve().parent
PACK = f"Packs/{BRAND}"
INTEGRATION = f"{PACK}/Integrations/{BRAND}/{BRAND}"
IMAGE = "demisto/python3:3.12.13.10116658"
FROM_VERSION = "6.10.0"
DISPLAY = "Carbon Black EDR Signing and Lineage"
DESCRIPTION = (
    "Tells of files and processes that Carbon Black EDR knows whether they are signed and where they came from: "
    "signing status with its reason, and the lineage of a process with the status of every ancestor."
)
TYPES = {Kind.INTEGER: "Number", Kind.NUMBER: "Number", Kind.SWITCH: "Boolean", Kind.TIME: "Date"}
RELIABILITIES = (
    "A+ - 3rd party enrichment",
    "A - Completely reliable",
    "B - Usually reliable",
    "C - Fairly reliable",
    "D - Not usually reliable",
    "E - Unreliable",
    "F - Reliability cannot be judged",
)
TEXT, SWITCH, CREDENTIALS, LONG_TEXT, CHOICE = 0, 8, 9, 12, 15
CONNECT, COLLECT = "Connect", "Collect"

Tree = dict[str, Any]


def files() -> dict[str, str]:
    """Return the generated files by their path below this folder."""
    made = environment(HERE)
    told: Tree = {
        "commands": [*commands()],
        "configuration": configuration(),
        "description": DESCRIPTION,
        "display": DISPLAY,
        "brand": BRAND,
        "from_version": FROM_VERSION,
        "outputs": next(one["outputs"] for one in commands() if one["name"] == COMMANDS[0].name),
    }
    return {
        f"{INTEGRATION}.yml": _yaml(integration()),
        f"{PACK}/Integrations/{BRAND}/README.md": made.get_template("integration.md.j2").render(told),
        f"{INTEGRATION}_description.md": made.get_template("description.md.j2").render(told),
        f"{PACK}/README.md": made.get_template("pack.md.j2").render(told),
        f"{PACK}/pack_metadata.json": json.dumps(metadata(), indent=4) + "\n",
        f"{PACK}/Playbooks/playbook-{BRAND}_Enrich_Incident.yml": made.get_template("playbook.yml.j2").render(told),
        f"{PACK}/Playbooks/playbook-{BRAND}_Enrich_Incident_README.md": made.get_template("playbook.md.j2").render(
            told
        ),
    }


def metadata() -> Tree:
    """Return the pack's own description."""
    return {
        "name": DISPLAY,
        "description": DESCRIPTION,
        "support": "community",
        "currentVersion": version(),
        "author": "cbsigned",
        "url": "",
        "email": "",
        "created": "2026-11-22T00:00:00Z",
        "categories": ["Endpoint"],
        "tags": ["Carbon Black", "Code signing", "Enrichment"],
        "useCases": [],
        "keywords": ["Carbon Black", "EDR", "signature", "publisher", "lineage", "process tree"],
        "marketplaces": ["xsoar", "marketplacev2"],
    }


def integration() -> Tree:
    """Return the integration's YAML as data."""
    return {
        "category": "Endpoint",
        "sectionorder": [CONNECT, COLLECT],
        "commonfields": {"id": BRAND, "version": -1},
        "configuration": configuration(),
        "description": DESCRIPTION,
        "display": DISPLAY,
        "name": BRAND,
        "script": {
            "commands": [*commands()],
            "dockerimage": IMAGE,
            "runonce": False,
            "script": "-",
            "subtype": "python3",
            "type": "python",
        },
        "fromversion": FROM_VERSION,
        "tests": ["No tests (auto formatted)"],
    }


def configuration() -> list[Tree]:
    """Return the settings of an instance: ours, those that the platform wants of everyone, and the reputation's."""
    ours = [setting(one) for one in CONFIGURATION]
    reliability: Tree = {
        "display": "Source Reliability",
        "name": "integrationReliability",
        "additionalinfo": "Reliability of the source providing the intelligence data.",
        "defaultvalue": RELIABILITIES[2],
        "options": [*RELIABILITIES],
        "type": CHOICE,
        "required": True,
        "section": COLLECT,
    }
    publishers: Tree = {
        "display": "Trusted publishers",
        "name": "trusted_publishers",
        "additionalinfo": "One a line, as the EDR writes them. The file command gives score 1, Good, to files that are "
        "Signed by one of these, and to no others.",
        "type": LONG_TEXT,
        "required": False,
        "section": COLLECT,
    }
    return [*ours, reliability, publishers]


def setting(one: Parameter) -> Tree:
    """Return one setting as the platform has it: secrets are credentials, and two switches have names of its own."""
    told: Tree = {"display": one.title, "name": one.name, "additionalinfo": described(one), "type": TEXT}
    if one.kind is Kind.SECRET:
        told = {
            "displaypassword": one.title,
            "name": "credentials",
            "additionalinfo": described(one),
            "hiddenusername": True,
            "type": CREDENTIALS,
        }
    elif one.name == "verify_tls":
        told = {"display": "Trust any certificate (not secure)", "name": "insecure", "type": SWITCH}
    elif one.name == "proxy":
        told = {"display": "Use system proxy settings", "name": "proxy", "type": SWITCH}
    elif one.kind is Kind.SWITCH:
        told["type"] = SWITCH
    if one.default is not None and one.name != "verify_tls":
        told["defaultvalue"] = written(one.default)
    return {**told, "required": one.required, "section": CONNECT}


def commands() -> Iterator[Tree]:
    """Yield every command: the reputation command, and one for each action but the test, which the platform calls."""
    yield file_command()
    for command in COMMANDS:
        action = action_named(command.action)
        yield {
            "name": command.name,
            "description": f"{action.summary} {action.description}",
            "arguments": [argument(one) for one in action.parameters],
            "outputs": [*outputs(command, action), *SUMMARY],
        }


SUMMARY: list[Tree] = [
    {"contextPath": f"{BRAND}.Summary.{name}", "description": text, "type": kind}
    for name, kind, text in (
        ("asked", "Number", "How many were asked for, by the latest command."),
        ("answered", "Number", "Of how many something could be found out."),
        ("complete", "Boolean", "False where a look-up failed that may succeed later."),
        ("total", "Number", "Of a search, how many there are."),
        ("next", "Number", "Of a search, the start of its next page; missing on the last."),
        ("status", "String", "Of a lineage, the signing status of the process itself."),
        ("processes", "Number", "Of a lineage, how many processes it has."),
        ("ended_by", "String", "Of a lineage, why it ends."),
        ("message", "String", "What came out, one or two sentences."),
        *((one.value.lower().replace(" ", "_"), "Number", f"How many are {one.value}.") for one in SigningStatus),
    )
]


def file_command() -> Tree:
    """Return the reputation command, which the platform calls by itself for every hash that it sees."""
    command = next(one for one in COMMANDS if one.action == "signing_status")
    action = action_named(command.action)
    hashes, *others = action.parameters
    file = {
        **argument(hashes),
        "name": "file",
        "default": True,
        "description": f"{hashes.description} Of others nothing is known.",
    }
    return {
        "name": "file",
        "description": "Signing status of files as a reputation: Signed is not Good by itself. Score 1 only for "
        "publishers that the configuration trusts, 2 for a signature that speaks against the file, else 0.",
        "arguments": [file, *(argument(one) for one in others)],
        "outputs": [*STANDARD, *outputs(command, action)],
    }


STANDARD: list[Tree] = [
    {"contextPath": path, "description": text, "type": kind}
    for path, kind, text in (
        ("DBotScore.Indicator", "String", "The indicator that was tested."),
        ("DBotScore.Type", "String", "The indicator type."),
        ("DBotScore.Vendor", "String", "The vendor used to calculate the score."),
        ("DBotScore.Score", "Number", "The actual score."),
        ("DBotScore.Reliability", "String", "Reliability of the source providing the intelligence data."),
        ("DBotScore.Message", "String", "Why this score."),
        ("File.MD5", "String", "The MD5 hash of the file."),
        ("File.SHA1", "String", "The SHA1 hash of the file."),
        ("File.SHA256", "String", "The SHA256 hash of the file."),
        ("File.Hashes.type", "String", "The hash type."),
        ("File.Hashes.value", "String", "The hash value."),
        ("File.Malicious.Vendor", "String", "Never given: no signature makes a file bad."),
        ("File.Malicious.Description", "String", "Never given: no signature makes a file bad."),
    )
]


def argument(one: Parameter) -> Tree:
    """Return one argument of a command."""
    told: Tree = {"name": one.name, "description": described(one)}
    if one.required:
        told["required"] = True
    if one.primary:
        told["default"] = True
    if one.many:
        told["isArray"] = True
    choices = ["true", "false"] if one.kind is Kind.SWITCH else [*one.choices]
    if choices:
        told.update(auto="PREDEFINED", predefined=choices)
    if one.default is not None:
        told["defaultValue"] = written(one.default)
    return told


def outputs(command: Command, action: Action) -> list[Tree]:
    """Return where the rows' values stand in the context."""
    return [
        {
            "contextPath": f"{command.prefix}.{one.path.replace('[]', '')}",
            "description": measured(one),
            "type": TYPES.get(one.kind, "String"),
        }
        for one in action.outputs
        if one.path not in LEFT_OUT
    ]


def described(one: Parameter) -> str:
    """Return the description of a value with its range, unit and an example, which have no place of their own."""
    told = span(one)
    text = one.description + (f" {told[0].upper()}{told[1:]}." if told else "")
    if one.example is None or one.many:
        return text
    return f"{text.removesuffix('.')} (for example {one.example})."


def written(value: Any) -> str:
    """Return a default as the platform writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _yaml(tree: Tree) -> str:
    """Return data as YAML in the order given, texts of several lines as blocks."""
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000))


class _Dumper(yaml.SafeDumper):
    """Repeats what stands twice instead of pointing at it, which the platform does not read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that there are none."""
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)
