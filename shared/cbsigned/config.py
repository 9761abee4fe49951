"""Where settings come from on the command line: the environment, then one INI file, then the defaults."""

from __future__ import annotations

import configparser
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from cbsigned.errors import ConfigError
from cbsigned.settings import Settings, Spec, parse_settings, specs

__all__ = ["Configuration", "Origin", "load_configuration"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """One setting in force: its text, masked where it is secret, and where it comes from."""

    section: str
    name: str
    shown: str
    origin: str


@dataclass(frozen=True)
class Configuration:
    """The settings in force and the origin of each.

    Attributes:
        store: Path of the embedded store named by `CBSIGNED_STORE` or `[cbsigned] store`, or None.
    """

    settings: Settings
    origins: tuple[Origin, ...]
    store: Optional[str]


def load_configuration(path: Optional[str], environ: Mapping[str, str]) -> Configuration:
    """Read the settings from the environment and the configuration file.

    A setting `name` of section `edr` or `cache` is `CBSIGNED_EDR_NAME` or `CBSIGNED_CACHE_NAME` in the environment,
    one of section `cbsigned` is `CBSIGNED_NAME`; the environment wins. `HTTPS_PROXY` is the proxy where none is set.

    Args:
        path: The INI file, which must then exist; None takes `CBSIGNED_CONFIG`, else
            `$XDG_CONFIG_HOME/cbsigned/config.ini` (`~/.config/…`) where it is there.
        environ: The process environment.

    Raises:
        ConfigError: The file or a value cannot be used.
    """
    file, given = _read_file(path, environ)
    texts: dict[str, dict[str, str]] = {}
    origins = []
    store = given.get("cbsigned", {}).pop("store", None)
    for section, entries in given.items():
        texts.setdefault(section, {}).update(entries)
    for spec in specs():
        variable = _variable(spec)
        origin = f"{file}" if texts.get(spec.section, {}).get(spec.name, "").strip() else "default"
        if environ.get(variable, "").strip():
            texts.setdefault(spec.section, {})[spec.name] = environ[variable]
            origin = f"environment, {variable}"
        elif spec.name == "proxy" and origin == "default":
            variable = next((name for name in ("HTTPS_PROXY", "https_proxy") if environ.get(name)), "")
            if variable and texts.get("edr", {}).get("url"):
                texts["edr"]["proxy"], origin = environ[variable], f"environment, {variable}"
        text = texts.get(spec.section, {}).get(spec.name, "").strip()
        origins.append(Origin(spec.section, spec.name, _shown(spec, text), origin))
    settings = parse_settings(texts)
    return Configuration(settings, tuple(origins), environ.get("CBSIGNED_STORE") or store)


def _read_file(path: Optional[str], environ: Mapping[str, str]) -> tuple[Path, dict[str, dict[str, str]]]:
    named = path or environ.get("CBSIGNED_CONFIG")
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "~", ".config")
    file = Path(named) if named else Path(base).expanduser() / "cbsigned" / "config.ini"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(file, encoding="utf-8") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            parser.read_file(stream, source=str(file))
    except FileNotFoundError:
        if named:
            raise ConfigError(f"There is no configuration file {file}. Check --config or CBSIGNED_CONFIG.") from None
        return file, {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"Cannot read the configuration file {file}: {type(exc).__name__}.") from exc
    except configparser.Error as exc:
        line = getattr(exc, "lineno", None) or next((number for number, _text in getattr(exc, "errors", [])), None)
        where = f", line {line}" if line else ""
        raise ConfigError(f"{file}{where} is no INI file: expected [section] and name = value lines.") from None
    given = {section: dict(parser.items(section)) for section in parser.sections()}
    if given.get("edr", {}).get("token") and mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("%s holds the API token and others may read it. Run: chmod 600 %s", file, file)
    return file, given


def _variable(spec: Spec) -> str:
    prefix = "CBSIGNED" if spec.section == "cbsigned" else f"CBSIGNED_{spec.section.upper()}"
    return f"{prefix}_{spec.name.upper()}"


def _shown(spec: Spec, text: str) -> str:
    if not text:
        return spec.default or "(not set)"
    if spec.kind == "secret":
        return f"set, {len(text)} characters"
    if "@" in text and "//" in text:
        return text.split("//", 1)[0] + "//…@" + text.rsplit("@", 1)[1]
    return text
