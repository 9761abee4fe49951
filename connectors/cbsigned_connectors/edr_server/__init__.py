"""A Carbon Black EDR server for development: the EDR's REST API, answered from an embedded store.

`cbsigned edr-server --store lab.db --token …` serves it; `docs/edr-server.md` tells how. Every answer is computed
from the store.
"""
