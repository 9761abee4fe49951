"""Is this process signed, and where did it come from?

::

    from cbsigned import Settings, Sources, enrich

    for enrichment in enrich(alerts, Sources(source, source), Settings()):
        print(enrichment.verdict)
"""

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.binary import BinaryRecord, Certainty, Evidence, RecordKind, Signature
from cbsigned.enrichment import Caches, Enrichment, Sources, Subject, enrich
from cbsigned.errors import (
    AlertError,
    BinaryNotFound,
    CbSignedError,
    ConfigError,
    NotFound,
    ProcessNotFound,
    SourceAuthError,
    SourceBusy,
    SourceError,
    SourceQueryError,
    SourceResponseError,
    SourceTimeout,
    SourceUnavailable,
)
from cbsigned.formats import parse_alert
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import EndedBy, Lineage, Node, ProcessSource, Relatives, lineages
from cbsigned.process import Process
from cbsigned.settings import EdrSettings, Settings, parse_settings
from cbsigned.signing import BinarySource, JointSource, Life, joint_statuses, signing_statuses
from cbsigned.status import SigningStatus
from cbsigned.timing import Deadline
from cbsigned.verdict import Verdict

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "AlertError",
    "BinaryNotFound",
    "BinaryRecord",
    "BinarySource",
    "Caches",
    "Cause",
    "CbSignedError",
    "Certainty",
    "ConfigError",
    "Deadline",
    "EdrSettings",
    "EndedBy",
    "Enrichment",
    "Evidence",
    "Gap",
    "JointSource",
    "Life",
    "Lineage",
    "Node",
    "NotFound",
    "ObservableSet",
    "Process",
    "ProcessNotFound",
    "ProcessSource",
    "RecordKind",
    "Relatives",
    "Role",
    "Settings",
    "Signature",
    "SigningStatus",
    "SourceAuthError",
    "SourceBusy",
    "SourceError",
    "SourceQueryError",
    "SourceResponseError",
    "SourceTimeout",
    "SourceUnavailable",
    "Sources",
    "Subject",
    "Verdict",
    "enrich",
    "joint_statuses",
    "lineages",
    "parse_alert",
    "parse_settings",
    "signing_statuses",
]
