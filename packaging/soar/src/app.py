"""The Splunk SOAR app: one function for each action, its widget, and the webhook. Made from the catalogue.

Change the catalogue or `app.py.j2`, then run: python packaging/manifests.py soar
Try it beside the platform: python -m src.app action signing_status -p params.json -a asset.json
"""
# fmt: off
# ruff: noqa: E501
# no `from __future__ import annotations`: the SDK reads the annotations

from soar_sdk.action_results import ActionResult
from soar_sdk.app import App
from soar_sdk.exceptions import ActionFailure
from soar_sdk.logging import getLogger
from soar_sdk.webhooks.models import WebhookRequest, WebhookResponse

from cbsigned_playbooks import soar

from . import outputs, params

app = App(
    name="Carbon Black EDR Signing",
    app_type="endpoint",
    logo="logo.svg",
    logo_dark="logo_dark.svg",
    product_vendor="Carbon Black",
    product_name="Carbon Black EDR",
    publisher="cbsigned",
    appid="5b1f0c0e-6f0c-4d2b-9d5e-3a2c8e7b41d6",
    python_version="3.13",
    asset_cls=params.Asset,
)
app.enable_webhooks()


def run(name: str, given: params.Given, asset: params.Asset) -> ActionResult:
    """Return the rows of an action as one result; a failed one too, since its rows say what is not known and why."""
    outcome = soar.answer(name, vars(given), vars(asset))
    result = ActionResult(outcome.ok, outcome.message, dict(vars(given)))
    for row in outcome.rows:
        result.add_data(row)
    result.set_summary(dict(outcome.summary))
    return result


def widget(name: str, rows: list) -> dict:
    """Return what the template shows: the rows drawn anew, since what is kept as text is no markup."""
    return soar.widget(name, [(getattr(row, "model_dump", None) or row.dict)(by_alias=True) for row in rows])


@app.test_connectivity()
def test_connectivity(asset: params.Asset) -> None:
    """Is the EDR reachable, and what may the token do?"""
    outcome = soar.answer("test_connection", {}, vars(asset))
    for row in outcome.rows:
        getLogger().info(soar.told(row))
    if not outcome.ok:
        raise ActionFailure(outcome.message)


@app.webhook("enrich", allowed_methods=["POST"])
def enrich(request: WebhookRequest) -> WebhookResponse:
    """Answer an alert with its enrichment."""
    status, answer = soar.webhook(request.body, vars(request.asset))
    return WebhookResponse.json_response(answer, status)


@app.view_handler(template="cbsigned.html")
def show_test_connection(rows: list[outputs.TestConnection]) -> dict:
    return widget("test_connection", rows)


@app.action(
    name="test connection",
    identifier="test_connection",
    description="Is the EDR reachable, and what may the token do?",
    verbose="Tries version, both searches, search by SHA-256 and the clocks, and says of each what to do where it fails.",
    action_type="investigate",
    read_only=True,
    output_class=outputs.TestConnection,
    summary_type=outputs.Summary,
    view_handler=show_test_connection,
)
def test_connection(params: params.TestConnectionParams, asset: params.Asset):
    return run("test_connection", params, asset)


@app.view_handler(template="cbsigned.html")
def show_enrich_alert(rows: list[outputs.EnrichAlert]) -> dict:
    return widget("enrich_alert", rows)


@app.action(
    name="enrich alert",
    identifier="enrich_alert",
    description="Signing status and lineage of everything that an alert names.",
    verbose="Takes an alert of any known format (or any JSON with a hash or a process guid in it), one or a list. Every alert comes back; what could not be found out is a gap with its reason.",
    action_type="investigate",
    read_only=True,
    output_class=outputs.EnrichAlert,
    summary_type=outputs.Summary,
    view_handler=show_enrich_alert,
)
def enrich_alert(params: params.EnrichAlertParams, asset: params.Asset):
    return run("enrich_alert", params, asset)


@app.view_handler(template="cbsigned.html")
def show_signing_status(rows: list[outputs.SigningStatus]) -> dict:
    return widget("signing_status", rows)


@app.action(
    name="signing status",
    identifier="signing_status",
    description="Who signed these files, and does the EDR trust it?",
    verbose="Asks for all hashes together, 200 in a request. Unknown is not Unsigned: the reason says which it is.",
    action_type="investigate",
    read_only=True,
    output_class=outputs.SigningStatus,
    summary_type=outputs.Summary,
    view_handler=show_signing_status,
)
def signing_status(params: params.SigningStatusParams, asset: params.Asset):
    return run("signing_status", params, asset)


@app.view_handler(template="cbsigned.html")
def show_process_lineage(rows: list[outputs.ProcessLineage]) -> dict:
    return widget("process_lineage", rows)


@app.action(
    name="process lineage",
    identifier="process_lineage",
    description="Where a process came from: its ancestors, each with its signing status.",
    verbose="By its guid, or by host, pid and a time at which it ran. Says why the walk ended, so that a short lineage is never taken for a whole one.",
    action_type="investigate",
    read_only=True,
    output_class=outputs.ProcessLineage,
    summary_type=outputs.Summary,
    view_handler=show_process_lineage,
)
def process_lineage(params: params.ProcessLineageParams, asset: params.Asset):
    return run("process_lineage", params, asset)


@app.view_handler(template="cbsigned.html")
def show_find_processes(rows: list[outputs.FindProcesses]) -> dict:
    return widget("find_processes", rows)


@app.action(
    name="find processes",
    identifier="find_processes",
    description="Processes that a query finds, each with the signing status of its image.",
    verbose="One page of the EDR's process search; `total` in the summary says how many there are, `next` where to go on.",
    action_type="investigate",
    read_only=True,
    output_class=outputs.FindProcesses,
    summary_type=outputs.Summary,
    view_handler=show_find_processes,
)
def find_processes(params: params.FindProcessesParams, asset: params.Asset):
    return run("find_processes", params, asset)


@app.view_handler(template="cbsigned.html")
def show_find_binaries(rows: list[outputs.FindBinaries]) -> dict:
    return widget("find_binaries", rows)


@app.action(
    name="find binaries",
    identifier="find_binaries",
    description="Files that a query finds, each with its signing status.",
    verbose="One page of the EDR's binary search; `total` in the summary says how many there are, `next` where to go on.",
    action_type="investigate",
    read_only=True,
    output_class=outputs.FindBinaries,
    summary_type=outputs.Summary,
    view_handler=show_find_binaries,
)
def find_binaries(params: params.FindBinariesParams, asset: params.Asset):
    return run("find_binaries", params, asset)


@app.view_handler(template="cbsigned.html")
def show_where_seen(rows: list[outputs.WhereSeen]) -> dict:
    return widget("where_seen", rows)


@app.action(
    name="where seen",
    identifier="where_seen",
    description="On which hosts a file is, and which processes ran, loaded or wrote it.",
    verbose="Four requests for each hash, so up to 20 of them. Of each relation the newest processes are told, and how many there are.",
    action_type="investigate",
    read_only=True,
    output_class=outputs.WhereSeen,
    summary_type=outputs.Summary,
    view_handler=show_where_seen,
)
def where_seen(params: params.WhereSeenParams, asset: params.Asset):
    return run("where_seen", params, asset)

if __name__ == "__main__":
    app.cli()
