"""What the app is told once, and what each action takes. Made from the catalogue: python packaging/manifests.py soar"""
# fmt: off
# ruff: noqa: E501

from typing import Any

from pydantic import ValidationError
from soar_sdk.asset import AssetField, BaseAsset
from soar_sdk.params import Param, Params


class Forgiving:
    """Takes a value of any type, so that the message about a wrong one is ours and holds no other value."""

    def __init__(self, **given: Any) -> None:
        known = {name: value for name, value in given.items() if value is not None}
        try:
            super().__init__(**known)
        except ValidationError as exc:
            wrong = {str(error["loc"][0]) for error in exc.errors()} & set(known)
            super().__init__(**{name: value for name, value in known.items() if name not in wrong})
            self.__dict__.update({name: known[name] for name in wrong})


class Asset(Forgiving, BaseAsset):
    """The EDR server. Its token is in no text that is made of this object."""

    url: str = AssetField(description="Server: Address of the EDR server.", required=True, default="")
    api_key: str = AssetField(description="API token: Token of a console user.", required=True, default="", sensitive=True)
    verify_tls: bool = AssetField(description="Verify TLS: No turns certificate checks off, with a warning.", required=False, default=True)
    ca_file: str = AssetField(description="CA file: PEM file of the CA, or of a self-signed server.", required=False)
    tls_hostname: str = AssetField(description="TLS host name: Name in the certificate, where it is not the address's.", required=False)
    proxy: str = AssetField(description="Proxy: HTTP proxy.", required=False)
    timeout_s: float = AssetField(description="Timeout: For one request without an answer. (1 to 120 s)", required=False, default=30.0)

    def __repr_args__(self) -> Any:
        """Return what may be shown."""
        return [(name, value) for name, value in super().__repr_args__() if name not in self.fields_requiring_decryption()]


class Given(Forgiving, Params):
    """Parameters of any action."""


class TestConnectionParams(Given):
    """What `test connection` takes."""

    deadline_s: float = Param(description="Deadline: For the whole action; what is not known by then is a gap with its reason. (1 to 600 s)", required=False, default=60.0)


class EnrichAlertParams(Given):
    """What `enrich alert` takes."""

    alert: str = Param(description="Alert: The alert as JSON, one object or a list of up to 1,000.", required=True, default="")
    format: str = Param(description="Format: Format of the alert, where it is not to be told from its shape.", required=False)
    lineage: bool = Param(description="Lineage: Look up ancestors.", required=False, default=True)
    max_depth: int = Param(description="Depth: Most ancestors to follow; the process itself is not counted. (0 to 500 processes)", required=False, default=16)
    relatives: int = Param(description="Relatives: Most children and siblings to show. (0 to 1,000 processes)", required=False, default=0)
    deadline_s: float = Param(description="Deadline: For the whole action; what is not known by then is a gap with its reason. (1 to 600 s)", required=False, default=60.0)


class SigningStatusParams(Given):
    """What `signing status` takes."""

    hashes: str = Param(description="Hashes: MD5 or SHA-256, up to 10,000.", required=True, default="", primary=True, cef_types=["md5", "sha256", "hash"], allow_list=True)
    deadline_s: float = Param(description="Deadline: For the whole action; what is not known by then is a gap with its reason. (1 to 600 s)", required=False, default=60.0)


class ProcessLineageParams(Given):
    """What `process lineage` takes."""

    guid: str = Param(description="Process GUID: 36 characters, or with a segment, or a link of the console.", required=False, primary=True, cef_types=["carbon black process id", "cbc process guid"])
    host: str = Param(description="Host: Host name, where no guid is known.", required=False, cef_types=["host name"])
    pid: int = Param(description="PID: Process id, where no guid is known. (0 to 4,294,967,295)", required=False, cef_types=["pid"])
    at: str = Param(description="Time: A moment at which it ran, UTC, where no guid is known.", required=False)
    max_depth: int = Param(description="Depth: Most ancestors to follow; the process itself is not counted. (0 to 500 processes)", required=False, default=16)
    relatives: int = Param(description="Relatives: Most children and siblings to show. (0 to 1,000 processes)", required=False, default=0)
    deadline_s: float = Param(description="Deadline: For the whole action; what is not known by then is a gap with its reason. (1 to 600 s)", required=False, default=60.0)


class FindProcessesParams(Given):
    """What `find processes` takes."""

    query: str = Param(description="Query: In the EDR's own query language; empty finds everything.", required=True, default="", primary=True, cef_types=["carbon black query"])
    start: int = Param(description="Start: Number of the first row, from 0. (0 to 10,000,000 rows)", required=False, default=0)
    rows: int = Param(description="Rows: Most rows of the answer. (1 to 1,000 rows)", required=False, default=100)
    sort: str = Param(description="Sort: Field and direction; empty for newest first.", required=False)
    deadline_s: float = Param(description="Deadline: For the whole action; what is not known by then is a gap with its reason. (1 to 600 s)", required=False, default=60.0)


class FindBinariesParams(Given):
    """What `find binaries` takes."""

    query: str = Param(description="Query: In the EDR's own query language; empty finds everything.", required=True, default="", primary=True, cef_types=["carbon black query"])
    start: int = Param(description="Start: Number of the first row, from 0. (0 to 10,000,000 rows)", required=False, default=0)
    rows: int = Param(description="Rows: Most rows of the answer. (1 to 1,000 rows)", required=False, default=100)
    sort: str = Param(description="Sort: Field and direction; empty for newest first.", required=False)
    deadline_s: float = Param(description="Deadline: For the whole action; what is not known by then is a gap with its reason. (1 to 600 s)", required=False, default=60.0)


class WhereSeenParams(Given):
    """What `where seen` takes."""

    hashes: str = Param(description="Hashes: MD5 or SHA-256, up to 20.", required=True, default="", primary=True, cef_types=["md5", "sha256", "hash"], allow_list=True)
    rows: int = Param(description="Rows: Most processes of each relation, and most hosts. (1 to 1,000 rows)", required=False, default=20)
    deadline_s: float = Param(description="Deadline: For the whole action; what is not known by then is a gap with its reason. (1 to 600 s)", required=False, default=60.0)
