"""What a back-fill keeps beside its output, so that it can be ended at any moment and gone on with.

::

    OUTPUT/part-00000.parquet          rows, each file written whole and then renamed
    OUTPUT/_cbsigned/run.json          what is read and how; the same command must say the same
    OUTPUT/_cbsigned/keys/             distinct values, most frequent first
    OUTPUT/_cbsigned/answers/          one file for each batch of them
    OUTPUT/_cbsigned/done/             one file for each part that is there
    OUTPUT/_cbsigned/scratch/          what the engine puts aside, and parts that are being written
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Optional

from cbsigned.backfill.work import Part
from cbsigned.errors import ConfigError
from cbsigned.output import write_output

__all__ = ["Folder", "read_rows"]

_KEPT = "_cbsigned"


class Folder:
    """The output folder of one back-fill; one process at a time holds it.

    Args:
        path: Made where it is missing.

    Raises:
        ConfigError: It has files that are none of ours, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.kept = path, path / _KEPT
        if path.exists() and not path.is_dir():
            raise ConfigError(f"OUTPUT {path} is a file: name a folder, for one file of each part.")
        if path.is_dir() and not self.kept.is_dir() and any(path.iterdir()):
            raise ConfigError(f"OUTPUT {path} has files of something else. Name a new folder.")
        for name in ("keys", "answers", "done", "scratch"):
            (self.kept / name).mkdir(parents=True, exist_ok=True)
        self._lock = open(self.kept / "lock", "w")  # noqa: SIM115 (held until `close`)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConfigError(f"Another back-fill is writing into {path}. Wait for it, or end it first.") from None
        shutil.rmtree(self.scratch)
        self.scratch.mkdir()

    @property
    def scratch(self) -> Path:
        """Where engines put aside what does not fit into memory; emptied at every start."""
        return self.kept / "scratch"

    def close(self) -> None:
        """Empty the scratch folder and let others in."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self._lock.close()

    def begin(self, run: Mapping[str, Any]) -> None:
        """Note what is read and how, or compare it with what an earlier start noted.

        Raises:
            ConfigError: Something is not the same.
        """
        noted = self._json("run.json")
        if noted is None:
            self._write("run.json", run)
            return
        other = sorted(name for name in {*run, *noted} if run.get(name) != noted.get(name))
        if other:
            raise ConfigError(
                f"{self.path} holds a back-fill begun with other {', '.join(other)}. Give the same command to go on "
                "with it, or name a new folder."
            )

    def keys(self, kind: str) -> Optional[Path]:
        """Return the file of all distinct keys, or None before it is whole."""
        path = self.kept / "keys" / f"{kind}.ndjson"
        return path if path.exists() else None

    def write_keys(self, kind: str, keys: Iterable[tuple[str, int]]) -> Path:
        """Write the file of all distinct keys, whole or not at all."""
        target = self.kept / "keys" / f"{kind}.ndjson"
        temporary = self.scratch / target.name
        with open(temporary, "w", encoding="utf-8") as stream:
            for key, rows in keys:
                stream.write(json.dumps({"k": key, "n": rows}) + "\n")
        os.replace(temporary, target)
        return target

    def answers(self, kind: str) -> list[Path]:
        """Return the files of all answers of a kind."""
        return sorted((self.kept / "answers").glob(f"{kind}-*.ndjson"))

    def answer_file(self, kind: str, number: int) -> Path:
        """Return the file of one batch, there or not."""
        return self.kept / "answers" / f"{kind}-{number:07d}.ndjson"

    def done(self, part: Part) -> Optional[dict[str, Any]]:
        """Return what was noted of a part that is written, or None."""
        return self._json(f"done/{part.name}.json")

    def version(self) -> str:
        """Return a text that changes with the answers."""
        digest = hashlib.sha256()
        for path in sorted((self.kept / "answers").iterdir()):
            about = path.stat()
            digest.update(f"{path.name} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def finish(self, part: Part, suffix: str, written: Path, noted: Mapping[str, Any]) -> None:
        """Put a written part in its place and note it; what was there for it before goes."""
        target = self.path / f"{part.name}{suffix}"
        if target.is_dir():  # a folder cannot be replaced in one step: until it is noted again the part is not done
            (self.kept / "done" / f"{part.name}.json").unlink(missing_ok=True)
            shutil.rmtree(target)
        os.replace(written, target)
        self._write(f"done/{part.name}.json", noted)

    def _json(self, name: str) -> Optional[dict[str, Any]]:
        with suppress(FileNotFoundError):
            try:
                found: dict[str, Any] = json.loads((self.kept / name).read_text(encoding="utf-8"))
                return found
            except ValueError as exc:
                raise ConfigError(f"{self.kept / name} is damaged ({exc}). Begin anew in another folder.") from exc
        return None

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        write_output(str(self.kept / name), json.dumps(document, indent=1) + "\n")


def read_rows(path: Path, most: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of an NDJSON file in groups of up to `most`."""
    with open(path, encoding="utf-8") as stream:
        while lines := list(islice(stream, most)):
            yield [json.loads(line) for line in lines]
