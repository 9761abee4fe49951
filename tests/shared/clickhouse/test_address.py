"""Addresses of stores on ClickHouse."""

from __future__ import annotations

import pytest

from cbsigned.clickhouse.address import address_of, is_address
from cbsigned.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("clickhouse://ch1/db", ("http://ch1:8123",)),
        ("clickhouse://ch1:9/db?tls=yes", ("https://ch1:9",)),
        ("clickhouse://ch1/db?tls=1", ("https://ch1:8443",)),
        ("clickhouse://[::1]:8123/db", ("http://[::1]:8123",)),
        ("clickhouse://me@ch1:1,ch2:2/db?cluster=edr", ("http://ch1:1", "http://ch2:2")),
    ],
)
def test_servers_are_read(text: str, nodes: tuple[str, ...]) -> None:
    assert is_address(text)
    assert nodes == address_of(text).nodes


def test_user_of_the_environment_goes_before_the_address_s() -> None:
    address = address_of("clickhouse://me@ch1/db", "you", "s3cret")

    assert (address.user, address.password) == ("you", "s3cret")
    assert "s3cret" not in repr(address) + address.shown
    assert address.shown == "clickhouse://ch1:8123/db"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("clickhouse://ch1", "expected a database"), ("clickhouse://ch1/a/b", "expected a database"),
        ("clickhouse://ch1/a`b", "expected a database"), ("clickhouse:///db", "expected servers"),
        ("clickhouse://ch1:0/db", "expected servers"), ("clickhouse://ch1:99999/db", "expected servers"),
        ("clickhouse://ch 1/db", "expected servers"), ("clickhouse://a,b/db", "several servers need"),
        ("clickhouse://a/db?x=1", "is no option of it"), ("clickhouse://a/db?cluster=a'b", "expected a database"),
        ("clickhouse://[::1/db", "expected an address"), ("clickhouse://a/db?cluster", "expected an address"),
    ],
)  # fmt: skip
def test_address_that_cannot_be_used_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        address_of(text)


def test_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="CBSIGNED_CLICKHOUSE_PASSWORD") as refusal:
        address_of("clickhouse://me:s3cret@ch1/db")

    assert "s3cret" not in str(refusal.value)


def test_path_is_no_address() -> None:
    assert not is_address("lab.db")
