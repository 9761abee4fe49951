"""Faults on purpose: slow answers, 429 and 5xx, answers cut short, blocked searches, wrong totals.

For those who test how an integration takes a bad day. Rules come from a file or, while the server runs, over the
control route; each names routes, a probability and what to do::

    {"seed": 7, "rules": [
        {"route": "/api/v1/process", "probability": 0.2, "fault": "status", "status": 429, "retry_after_s": 2},
        {"route": "/api/v1/binary*", "fault": "truncate", "keep": 0.5, "times": 3},
        {"route": "*", "fault": "latency", "latency_s": 1.5},
        {"route": "/api/v1/process", "fault": "block-joins"}]}
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Optional

from cbsigned.errors import ConfigError

__all__ = ["Fault", "Faults", "faults_of_file", "parse_faults"]

KINDS = ("latency", "status", "truncate", "block-joins", "block-leading-wildcards", "over-estimate")
_MAX_LATENCY_S = 600.0
_MAX_RULES = 1000


@dataclass(frozen=True)
class Fault:
    """One rule.

    Attributes:
        route: Path, with `*` and `?` as wildcards.
        fault: What happens: `latency` alone waits; `status` answers with `status` and its error page; `truncate`
            sends a part of the answer and closes the connection; the others change what a search answers.
        method: GET, POST, or None for both.
        probability: 0 to 1, drawn for each request.
        times: How often at most; None without end.
        latency_s: Waited before anything else, with any fault.
        status: 204, or 400 to 599.
        retry_after_s: Told in `Retry-After`; None sends none.
        keep: Share of the answer's bytes that is sent before the cut.
        extra: Added to `total_results`.
    """

    route: str
    fault: str
    method: Optional[str] = None
    probability: float = 1.0
    times: Optional[int] = None
    latency_s: float = 0.0
    status: int = 503
    retry_after_s: Optional[int] = None
    keep: float = 0.5
    extra: int = 10


@dataclass
class Faults:
    """The rules in force and how often each struck; asked on the event loop alone, so nothing is locked.

    Attributes:
        struck: How often, in the order of the rules.
    """

    rules: Sequence[Fault] = ()
    seed: Optional[int] = None
    struck: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.use(self.rules, self.seed)

    def use(self, rules: Sequence[Fault], seed: Optional[int] = None) -> None:
        """Put other rules in force; the same seed draws the same faults for the same requests."""
        self.rules, self.seed, self.struck = tuple(rules), seed, [0] * len(rules)
        self._random = random.Random(seed)  # noqa: S311 (no secret is drawn)

    def drawn(self, method: str, path: str) -> list[Fault]:
        """Return the rules that strike a request, in order; of those that end it the first counts."""
        found = []
        for index, rule in enumerate(self.rules):
            due = rule.times is None or self.struck[index] < rule.times
            meant = fnmatchcase(path, rule.route) and rule.method in (None, method)
            if due and meant and self._random.random() < rule.probability:
                self.struck[index] += 1
                found.append(rule)
        return found

    def described(self) -> dict[str, Any]:
        """Return the rules with how often each struck."""
        rules = [{**asdict(rule), "struck": struck} for rule, struck in zip(self.rules, self.struck)]
        return {"seed": self.seed, "rules": rules}


def faults_of_file(path: Path) -> Faults:
    """Return the faults of a JSON or YAML file.

    Raises:
        ConfigError: It cannot be read, or a rule cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"Cannot read the faults {path}: {exc}. Check the path given to --faults.") from exc
    return parse_faults(_yaml(text, path) if path.suffix in (".yaml", ".yml") else _json(text, path), str(path))


def parse_faults(document: object, place: str) -> Faults:
    """Return the faults that a document describes.

    Args:
        document: `{"seed": …, "rules": […]}`.
        place: Where it comes from, for messages.

    Raises:
        ConfigError: It is of another shape, or a rule cannot be used.
    """
    rules = document.get("rules") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(rules, list) or len(rules) > _MAX_RULES:
        raise ConfigError(f'{place} is no list of faults: expected {{"rules": […]}} with at most {_MAX_RULES} rules.')
    seed = document.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise ConfigError(f"{place}: seed is no whole number. Leave it out to draw differently each time.")
    return Faults([_rule(rule, f"{place}, rule {number}") for number, rule in enumerate(rules, 1)], seed)


def _rule(rule: object, place: str) -> Fault:
    if not isinstance(rule, dict):
        raise ConfigError(f'{place} is no object. Write at least {{"route": "*", "fault": "latency"}}.')
    unknown = sorted(set(map(str, rule)) - set(Fault.__dataclass_fields__))
    if unknown:
        raise ConfigError(
            f"{place} has {unknown[0][:40]}, which no rule has. Use: {', '.join(Fault.__dataclass_fields__)}."
        )
    if not isinstance(rule.get("route"), str) or rule.get("fault") not in KINDS:
        raise ConfigError(f"{place} needs a route and a fault, which is one of: {', '.join(KINDS)}.")
    if rule.get("method") not in (None, "GET", "POST"):
        raise ConfigError(f"{place}: method is GET or POST; leave it out for both.")
    for name, (low, high, whole) in _BOUNDS.items():
        _check(rule, name, low, high, whole, place)
    made = Fault(**{name: value for name, value in rule.items() if value is not None})
    if not (made.status == 204 or 400 <= made.status <= 599):
        raise ConfigError(f"{place}: status is {made.status}: expected 204, or 400 to 599.")
    return made


_BOUNDS = {
    "probability": (0, 1, False), "times": (0, 10**9, True), "latency_s": (0, _MAX_LATENCY_S, False),
    "status": (204, 599, True), "retry_after_s": (0, 86_400, True), "keep": (0, 1, False), "extra": (0, 10**9, True),
}  # fmt: skip


def _check(rule: Mapping[str, Any], name: str, low: float, high: float, whole: bool, place: str) -> None:
    value = rule.get(name)
    if value is None:
        return
    number = isinstance(value, int) or (isinstance(value, float) and not whole)
    if isinstance(value, bool) or not number or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{place}: {name} is {str(value)[:40]}: expected {kind}, {low:g} to {high:g}.")


def _json(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"The faults {path} are not JSON: {exc}. YAML files end in .yaml.") from exc


def _yaml(text: str, path: Path) -> object:
    try:
        import yaml
    except ImportError as exc:
        raise ConfigError(f"Reading {path} needs PyYAML: pip install 'cbsigned[server]', or write JSON.") from exc
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as exc:
        raise ConfigError(f"The faults {path} are not YAML: {str(exc)[:200]}") from exc
