"""A stand-in for the few parts of the platform's own Python that the integration uses.

Written from what `demisto/content` `Packs/Base/Scripts/CommonServerPython` does with them, as read in its version of
480,181 characters: which keys an entry has, how context paths are made, which values are refused. It refuses what the
real one refuses, and knows nothing more. `CBSIGNED_XSOAR_COMMON` names the folder of a real one.
"""

from __future__ import annotations

import sys

import demistomock as demisto


def __line__():
    return 0


def register_module_line(_name, _edge, _line, wrapper=0):
    return wrapper


class EntryType:
    NOTE = 1
    ERROR = 4


class DBotScoreType:
    FILE = "file"
    IP = "ip"


RELIABILITIES = (
    "A+ - 3rd party enrichment",
    "A - Completely reliable",
    "B - Usually reliable",
    "C - Fairly reliable",
    "D - Not usually reliable",
    "E - Unreliable",
    "F - Reliability cannot be judged",
)


class Common:
    class Indicator:
        pass

    class DBotScore:
        PATH = (
            "DBotScore(val.Indicator && val.Indicator == obj.Indicator && val.Vendor == obj.Vendor "
            "&& val.Type == obj.Type)"
        )

        def __init__(
            self,
            indicator,
            indicator_type,
            integration_name="",
            score=None,
            malicious_description=None,
            reliability=None,
            message=None,
        ):
            if indicator_type not in (DBotScoreType.FILE, DBotScoreType.IP):
                raise TypeError("indicator_type must be of type DBotScoreType enum")
            if score not in (0, 1, 2, 3):
                raise TypeError("indicator `score` must be of type DBotScore enum")
            if reliability and reliability not in RELIABILITIES:
                raise TypeError("reliability must be of type DBotScoreReliability enum")
            vendor = demisto.callingContext.get("IntegrationBrand") or integration_name
            self.score = score
            self.told = {"Indicator": indicator, "Type": indicator_type, "Vendor": vendor, "Score": score}
            if reliability:
                self.told["Reliability"] = reliability
            if message:
                self.told["Message"] = message

        def to_context(self):
            return {self.PATH: self.told}

    class File(Indicator):
        KINDS = ("MD5", "SHA1", "SHA256", "SHA512", "CRC32", "CTPH", "SSDeep")
        PATH = f"File({' || '.join(f'val.{kind} && val.{kind} == obj.{kind}' for kind in KINDS)})"

        def __init__(self, dbot_score, name=None, md5=None, sha1=None, sha256=None):
            self.dbot_score = dbot_score
            self.values = {"Name": name, "MD5": md5, "SHA1": sha1, "SHA256": sha256}

        def to_context(self):
            told = {name: value for name, value in self.values.items() if value}
            hashes = [{"type": kind, "value": value} for kind, value in told.items() if kind in self.KINDS]
            return {self.PATH: {"Hashes": hashes, **told}, **self.dbot_score.to_context()}


class CommandResults:
    def __init__(
        self,
        outputs_prefix=None,
        outputs_key_field=None,
        outputs=None,
        readable_output=None,
        raw_response=None,
        indicator=None,
    ):
        if outputs is not None and not isinstance(outputs, dict) and not outputs_prefix:
            raise ValueError("outputs_prefix is missing")
        self.prefix, self.key, self.outputs = outputs_prefix, outputs_key_field, outputs
        self.readable_output, self.indicator = readable_output, indicator
        self.raw_response = outputs if raw_response is None else raw_response

    def to_context(self):
        context = {}
        if self.indicator:
            context.update({name: [value] for name, value in self.indicator.to_context().items()})
        if self.outputs:
            if self.prefix and self.key:
                context[f"{self.prefix}(val.{self.key} && val.{self.key} == obj.{self.key})"] = self.outputs
            elif self.prefix:
                context[self.prefix] = self.outputs
            else:
                context.update(self.outputs)
        return {
            "Type": EntryType.NOTE,
            "ContentsFormat": "text" if isinstance(self.raw_response, (str, int)) else "json",
            "Contents": self.raw_response,
            "HumanReadable": self.readable_output or None,
            "EntryContext": context,
            "IndicatorTimeline": [],
            "IgnoreAutoExtract": False,
            "Note": False,
            "Relationships": [],
        }


def return_results(results):
    if isinstance(results, list) and results:
        for result in results:
            return_results(result)
    elif isinstance(results, CommandResults):
        demisto.results(results.to_context())
    else:
        demisto.results(results)


def return_error(message, error="", outputs=None):
    demisto.error(message)
    if error:
        demisto.error(str(error))
    demisto.results({"Type": EntryType.ERROR, "ContentsFormat": "text", "Contents": message, "EntryContext": outputs})
    sys.exit(0)
