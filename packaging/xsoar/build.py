"""Build the Cortex XSOAR pack: `python packaging/xsoar/build.py --output dist`, without demisto-sdk.

Writes `cbsigned-xsoar-<version>.zip`, the pack as the platform takes it, and `integration-CBSigned-<version>.yml`, the
integration alone. In both the integration is one file, with image, description
and Python inside, and in the Python the core as a zip. Two builds of one checkout are equal to the byte.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import textwrap
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import bundle  # noqa: E402 (beside the folder of this script)

PACK = HERE / "Packs" / "CBSigned"
INTEGRATION = PACK / "Integrations" / "CBSigned"
_EMPTY = 'CORE = ""\n'
_PLATFORMS_OWN = re.compile(
    r"^(?:import demistomock as demisto|from CommonServer(?:User)?Python import \*).*\n", re.MULTILINE
)


def made() -> dict[str, bytes]:
    """Return both files by their names."""
    return {
        f"integration-CBSigned-{bundle.version()}.yml": unified().encode(),
        f"cbsigned-xsoar-{bundle.version()}.zip": bundle.zipped(pack()),
    }


def pack() -> dict[str, bytes]:
    """Return the files of the pack by their path in its archive, laid out as `demisto-sdk zip-packs` does."""
    found = {"Integrations/integration-CBSigned.yml": unified().encode()}
    for path in sorted((PACK / "Playbooks").glob("*.yml")):
        found[f"Playbooks/{path.name}"] = path.read_bytes()
    for path in sorted((PACK / "ReleaseNotes").glob("*.md")):
        found[f"ReleaseNotes/{path.name}"] = path.read_bytes()
    found["README.md"] = (PACK / "README.md").read_bytes()
    found["pack_metadata.json"] = (PACK / "pack_metadata.json").read_bytes()
    known = {"id": PACK.name, "serverMinVersion": "6.10.0", "certification": "", "price": 0}
    metadata = {**json.loads(found["pack_metadata.json"]), **known}
    found["metadata.json"] = (json.dumps(metadata, indent=4) + "\n").encode()
    return found


def unified() -> str:
    """Return the integration in one YAML file."""
    tree = yaml.safe_load((INTEGRATION / "CBSigned.yml").read_text("utf-8"))
    tree["script"]["script"] = script()
    image = base64.b64encode((INTEGRATION / "CBSigned_image.png").read_bytes()).decode()
    tree["image"] = f"data:image/png;base64,{image}"
    tree["detaileddescription"] = (INTEGRATION / "CBSigned_description.md").read_text("utf-8")
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000))


def script() -> str:
    """Return the integration's Python as the platform runs it, behind its own code and with no import of that."""
    version = json.loads((PACK / "pack_metadata.json").read_text("utf-8"))["currentVersion"]
    body = _PLATFORMS_OWN.sub("", source())
    return (
        "register_module_line('CBSigned', 'start', __line__())\n"
        f"CONSTANT_PACK_VERSION = '{version}'\n"
        f"demisto.debug('pack id = CBSigned, pack version = {version}')\n"
        f"{body}\n"
        "register_module_line('CBSigned', 'end', __line__())\n"
    )


def source() -> str:
    """Return the integration's Python with the core in it."""
    text = (INTEGRATION / "CBSigned.py").read_text("utf-8")
    if text.count(_EMPTY) != 1:
        raise bundle.BuildError(f"CBSigned.py has no line {_EMPTY.strip()}, into which the core is put. Restore it.")
    modules = {name: data for name, data in bundle.code("xsoar").items() if name.endswith(".py")}
    core = base64.b64encode(bundle.zipped(modules)).decode()
    return text.replace(_EMPTY, 'CORE = """\n' + "\n".join(textwrap.wrap(core, 120)) + '\n"""\n')


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that a person can read the Python."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


if __name__ == "__main__":
    sys.exit(bundle.main(__doc__, made))
