"""A platform's configuration made into the core's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbsigned.errors import ConfigError
from cbsigned.settings import Settings, parse_settings
from cbsigned_playbooks.catalogue import CONFIGURATION
from cbsigned_playbooks.definition import Parameter

__all__ = ["settings_of"]

_NAMES = {"api_key": "token"}


def settings_of(configuration: Mapping[str, Any]) -> Settings:
    """Return the settings that a platform's flat configuration describes.

    Args:
        configuration: Names of `CONFIGURATION` → text, number or switch; empty values and other names are passed over,
            since platforms add settings of their own.

    Raises:
        ConfigError: A required one is missing, or one cannot be used; the text never has the token.
    """
    given = {one.name: _text(configuration.get(one.name)) for one in CONFIGURATION}
    for one in CONFIGURATION:
        if one.required and not given[one.name]:
            raise ConfigError(f'The configuration has no {one.name} ("{one.title}"). {one.description} Fill it in.')
    values = {_NAMES.get(name, name): text for name, text in given.items() if text}
    places = {("edr", _NAMES.get(one.name, one.name)): _place(one) for one in CONFIGURATION}
    return parse_settings({"edr": values}, places)


def _place(setting: Parameter) -> str:
    return f'{setting.name} ("{setting.title}") of the configuration'


def _text(value: object) -> str:
    if value is None:
        return ""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value).strip()
