"""What the documentation says of the configuration is what the code has; run this file to write its table anew."""

from __future__ import annotations

import re
from pathlib import Path

from cbsigned.yamlfile import read_yaml
from cbsigned_connectors.webhook.configuration import settings_of
from cbsigned_connectors.webhook.configuration_keys import KEYS
from cbsigned_connectors.webhook.credentials import Scheme
from support import PROJECT

DOCS = PROJECT / "docs" / "webhook-configuration.md"
TOKEN = "a-token-that-nobody-may-see-0123"
KEY = "whsec_" + "QUJD" * 11 + "QQ=="


def table() -> str:
    """Return the table of every key, as the documentation has it."""
    units = {
        "seconds": "s", "bytes": "bytes", "number": "number", "switch": "yes, no", "choice": "one of", "text": "text",
        "file": "path", "hosts": "list of hosts", "networks": "list of networks", "secrets": "list of secrets",
    }  # fmt: skip
    lines = ["| key | what | unit | range | default | example |", "|---|---|---|---|---|---|"]
    for key in KEYS.values():
        if key.kind == "section" and not key.example:
            lines.append(f"| **`{key.name}`** | {key.help} | | | | |")
            continue
        span = f"{key.low:.15g} to {key.high:.15g}" if key.high else ""
        default = f"`{key.default}`" if key.default else "–"
        lines.append(
            f"| `{key.name}` | {key.help} | {units.get(key.kind, 'mapping')} | {span} | {default} | `{key.example}` |"
        )
    return "\n".join(lines) + "\n"


_TABLE = re.compile(r"(?<=<!-- table of: keys -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def test_the_documentation_has_every_key_as_the_code_has_it() -> None:
    """Run this file to write the table anew."""
    found = _TABLE.search(DOCS.read_text(encoding="utf-8"))

    assert found is not None
    assert found[0] == table()


def test_the_documentations_example_is_taken(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "soar-old.secret").write_text(KEY.replace("QUJD", "REVG"))
    (tmp_path / "soar-old.secret").chmod(0o600)
    path = tmp_path / "webhook.yaml"
    environ = {"CBSIGNED_SPLUNK": TOKEN, "CBSIGNED_SOAR": KEY, "CBSIGNED_CALLBACKS": KEY}

    found = settings_of(read_yaml(example, str(path)), path, environ)

    assert [sender.name for sender in found.senders] == ["splunk", "soar"]


def test_the_documentation_names_every_scheme() -> None:
    text = DOCS.read_text(encoding="utf-8")

    assert [scheme.value for scheme in Scheme if f"| `{scheme.value}` |" not in text] == []


if __name__ == "__main__":
    DOCS.write_text(_TABLE.sub(lambda _match: table(), DOCS.read_text(encoding="utf-8")), encoding="utf-8")
