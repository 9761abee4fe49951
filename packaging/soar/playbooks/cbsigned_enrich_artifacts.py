"""
Asks who signed the files that an event's artifacts name and where the processes came from, and notes it on the event.

Needs an asset of the app "Carbon Black EDR Signing" that is called `carbon_black_edr` (ASSET below). Hashes are taken
from fileHash, fileHashMd5, fileHashSha256 and md5 of the artifacts, processes from processGuid and
carbonBlackProcessId. The event's severity becomes high where a signature is broken or its signer distrusted; Unknown
and Unsigned raise nothing, and nothing lowers it.
"""

import phantom.rules as phantom

ASSET = "carbon_black_edr"
HASHES = ("fileHash", "fileHashMd5", "fileHashSha256", "md5")
PROCESSES = ("processGuid", "carbonBlackProcessId")
ALARMING = ("Bad Signature", "Invalid Signature", "Explicit Distrust")
MOST_PROCESSES = 10


def on_start(container):
    """Ask for all hashes in one action run and for each process in a run of its own, at the same time."""
    hashes, processes = of_artifacts(container, HASHES), of_artifacts(container, PROCESSES)
    if hashes:
        parameters = [{"hashes": ", ".join(hashes)}]
        phantom.act("signing status", parameters=parameters, assets=[ASSET], callback=note_signing, name="signing_1")
    if processes:
        parameters = [{"guid": guid, "max_depth": 16} for guid in processes[:MOST_PROCESSES]]
        phantom.act("process lineage", parameters=parameters, assets=[ASSET], callback=note_lineage, name="lineage_1")
    if len(processes) > MOST_PROCESSES:
        left = f"{len(processes) - MOST_PROCESSES} of {len(processes)} processes of this event were not looked up."
        phantom.comment(container=container, comment=left)
    if not hashes and not processes:
        phantom.comment(container=container, comment="No artifact of this event has a hash or a process guid.")


def of_artifacts(container, fields):
    """Return every value of these fields once, in the order of the artifacts."""
    paths = [f"artifact:*.cef.{field}" for field in fields]
    rows = phantom.collect2(container=container, datapath=paths, scope="all")
    return list(dict.fromkeys(str(value).strip() for row in rows for value in row if value))


def note_signing(action=None, success=None, container=None, results=None, handle=None, **kwargs):
    """Note the status of each file with its reason."""
    rows = [row for part in parts(results) for row in part.get("data") or []]
    lines = [f"- **{row['status']}** {inline(row['asked'])}: {inline(row['reason'])}" for row in rows]
    note(container, "Signing status", lines, results)
    if any(row["status"] in ALARMING for row in rows):
        phantom.set_severity(container=container, severity="high")


def note_lineage(action=None, success=None, container=None, results=None, handle=None, **kwargs):
    """Note each process with its ancestors, the oldest first."""
    rows = [row for part in parts(results) for row in part.get("data") or [] if row["tree"]]
    note(container, "Process lineage", [f"{inline(row['name'])}\n\n{block(row['tree'])}\n" for row in rows], results)


def parts(results):
    """Return the results of an action run, one for each set of parameters."""
    return [part for result in results or [] for part in result.get("action_results") or []]


def note(container, title, lines, results):
    """Write one note of what was found, and of what was not."""
    failures = [f"- Not answered: {inline(part['message'])}" for part in parts(results) if part["status"] == "failed"]
    content = "\n".join([*lines, *failures]) or "Nothing was found."
    phantom.add_note(container=container, note_type="general", title=title, content=content, note_format="markdown")


def inline(value):
    """Return a value from outside as one line that is neither Markdown nor HTML, and turns no text round."""
    text = " ".join(("?" if value is None else str(value)).split())[:300]
    text = "".join(mark if mark.isprintable() else "?" for mark in text)
    return "".join("\\" + mark if mark in "\\`*_[]()#|~!" else mark for mark in text).replace("<", "&lt;")


def block(text):
    """Return lines as a block of code."""
    return "\n".join(f"    {line}" for line in str(text).splitlines())


def on_finish(container, summary):
    """Say nothing more: the notes have it all."""
