"""Run by a Python that has cortexutils: reports with it what our own program reported for the same job.

    python oracle_worker.py analyzer|responder OURS.json [FOLDER]

The parts of our report are handed to cortexutils piece by piece, so that what comes out is written as it writes it.
"""

import json
import sys

kind, ours = sys.argv.pop(1), sys.argv.pop(1)  # cortexutils looks at the first argument that is left

from cortexutils.analyzer import Analyzer  # noqa: E402
from cortexutils.responder import Responder  # noqa: E402

with open(ours, encoding="utf-8") as told:
    REPORT = json.load(told)


class Parts:
    def operations(self, raw):
        return [
            self.build_operation(one["type"], **{k: v for k, v in one.items() if k != "type"})
            for one in REPORT["operations"]
        ]

    def run(self):
        self.get_data()
        self.report(REPORT["full"])


class OracleAnalyzer(Parts, Analyzer):
    def summary(self, raw):
        names = ("level", "namespace", "predicate", "value")
        return {
            "taxonomies": [self.build_taxonomy(*(one[n] for n in names)) for one in REPORT["summary"]["taxonomies"]]
        }

    def artifacts(self, raw):
        rest = [{k: v for k, v in one.items() if k not in ("dataType", "data")} for one in REPORT["artifacts"]]
        return [
            self.build_artifact(one["dataType"], one["data"], **more) for one, more in zip(REPORT["artifacts"], rest)
        ]


class OracleResponder(Parts, Responder):
    pass


{"analyzer": OracleAnalyzer, "responder": OracleResponder}[kind]().run()
