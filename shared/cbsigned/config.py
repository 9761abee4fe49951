"""Where settings come from on the command line: the environment, then one INI file, then the defaults."""

from __future__ import annotations

import configparser
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Optional

from requests.utils import should_bypass_proxies

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
    """The settings in force and the origin of each."""

    settings: Settings
    origins: tuple[Origin, ...]


def load_configuration(path: Optional[str], environ: Mapping[str, str]) -> Configuration:
    """Read the settings from the environment and the configuration file.

    A setting `name` of section `edr` or `cache` is `CBSIGNED_EDR_NAME` or `CBSIGNED_CACHE_NAME` in the environment,
    one of section `cbsigned` is `CBSIGNED_NAME`; the environment wins. Where no proxy is set, `HTTPS_PROXY` is it,
    unless `NO_PROXY` excepts the server.

    Args:
        path: The INI file, which must then exist; None takes `CBSIGNED_CONFIG`, else
            `$XDG_CONFIG_HOME/cbsigned/config.ini` (`~/.config/…`) where it is there.
        environ: The process environment.

    Raises:
        ConfigError: The file or a value cannot be used.
    """
    file, texts = _read_file(path, environ)
    places: dict[tuple[str, str], str] = {}
    origins = []
    for spec in specs():
        entries = texts.setdefault(spec.section, {})
        origin = str(file) if entries.get(spec.name, "").strip() else "default"
        found = _from_environment(spec, environ, bool(entries.get(spec.name)), entries.get("url"))
        if found is not None:
            entries[spec.name], variable = found
            places[spec.section, spec.name] = variable
            origin = f"environment, {variable}"
        origins.append(Origin(spec.section, spec.name, _shown(spec, entries.get(spec.name, "").strip()), origin))
    _warn_of_misspelt(environ)
    return Configuration(parse_settings(texts, places), tuple(origins))


def _from_environment(
    spec: Spec, environ: Mapping[str, str], given: bool, server: Optional[str]
) -> Optional[tuple[str, str]]:
    """Return a setting's text and the variable that it stands in, or None."""
    if environ.get(_variable(spec), "").strip():
        return environ[_variable(spec)], _variable(spec)
    if spec.name != "proxy" or given or not server:
        return None
    for variable in ("HTTPS_PROXY", "https_proxy"):
        text = environ.get(variable, "").strip()
        bypass = environ.get("NO_PROXY", "") or environ.get("no_proxy", "")
        if text and not should_bypass_proxies(server, no_proxy=bypass):
            return (text if "://" in text else f"http://{text}"), variable
    return None


def _warn_of_misspelt(environ: Mapping[str, str]) -> None:
    """Say which variable is nearly one of ours; it would be passed over in silence."""
    known = [*map(_variable, specs()), "CBSIGNED_CONFIG"]
    for name in environ:
        near = get_close_matches(name, known, 1, 0.85) if name.startswith("CBSIGNED_") and name not in known else []
        if near:
            log.warning("%s is not a setting and is passed over. Did you mean %s?", name, near[0])


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
    held = [name for section, name in (("edr", "token"), ("cache", "password")) if given.get(section, {}).get(name)]
    if held and mode & (stat.S_IRWXG | stat.S_IRWXO):
        what = {"token": "the API token", "password": "the password of the cache"}[held[0]]
        log.warning("%s holds %s and others may read it. Run: chmod 600 %s", file, what, file)
    return file, given


def _variable(spec: Spec) -> str:
    prefix = "CBSIGNED" if spec.section == "cbsigned" else f"CBSIGNED_{spec.section.upper()}"
    return f"{prefix}_{spec.name.upper()}"


def _shown(spec: Spec, text: str) -> str:
    if not text:
        return spec.default or "(not set)"
    if spec.kind == "secret":
        return f"set, {len(text)} characters"
    return f"…@{text.rsplit('@', 1)[1]}" if spec.kind in ("url", "redis") and "@" in text else text
