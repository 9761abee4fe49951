// Made from playbooks/cbsigned_playbooks/catalogue.py by packaging/manifests.py
"use strict";

const OPERATIONS = [
	{
		"name": "Enrich Alert",
		"value": "enrich_alert",
		"action": "Enrich alert",
		"description": "Signing status and lineage of everything that an alert names.",
		"routing": {
			"request": {
				"method": "POST",
				"url": "=/v1/alerts{{ $parameter.format ? \"/\" + encodeURIComponent($parameter.format) : \"\" }}"
			}
		}
	},
	{
		"name": "Signing Status",
		"value": "signing_status",
		"action": "Signing status",
		"description": "Who signed these files, and does the EDR trust it?",
		"routing": {
			"request": {
				"method": "POST",
				"url": "/v1/signed"
			}
		}
	},
	{
		"name": "Process Lineage",
		"value": "process_lineage",
		"action": "Process lineage",
		"description": "Where a process came from: its ancestors, each with its signing status.",
		"routing": {
			"request": {
				"method": "POST",
				"url": "/v1/lineage"
			}
		}
	}
];

const FIELDS = [
	{
		"displayName": "Alert",
		"name": "alert",
		"type": "json",
		"default": "={{ $json.body ?? $json }}",
		"description": "The alert as JSON, one object or a list of up to 1,000",
		"displayOptions": {
			"show": {
				"operation": [
					"enrich_alert"
				]
			}
		},
		"required": true
	},
	{
		"displayName": "Format",
		"name": "format",
		"type": "string",
		"default": "",
		"description": "Format of the alert, where it is not to be told from its shape",
		"displayOptions": {
			"show": {
				"operation": [
					"enrich_alert"
				]
			}
		},
		"placeholder": "e.g. sentinel"
	},
	{
		"displayName": "Hashes",
		"name": "hashes",
		"type": "string",
		"default": "",
		"description": "MD5 or SHA-256, up to 10,000. Several with commas, blanks or line ends between them, or a list.",
		"displayOptions": {
			"show": {
				"operation": [
					"signing_status"
				]
			}
		},
		"required": true,
		"placeholder": "e.g. 0f343b0931126a20f133d67c2b018a3b",
		"typeOptions": {
			"rows": 3
		},
		"routing": {
			"send": {
				"type": "body",
				"property": "hashes",
				"value": "={{ Array.isArray($value) ? $value : String($value).split(/[\\s,;]+/).filter((one) => one !== '') }}"
			}
		}
	},
	{
		"displayName": "Process GUID",
		"name": "guid",
		"type": "string",
		"default": "",
		"description": "36 characters, or with a segment, or a link of the console",
		"displayOptions": {
			"show": {
				"operation": [
					"process_lineage"
				]
			}
		},
		"placeholder": "e.g. 00000009-0000-082c-01d1-7f392625197c",
		"routing": {
			"send": {
				"type": "body",
				"property": "guid",
				"value": "={{ $value === '' ? undefined : $value }}"
			}
		}
	},
	{
		"displayName": "Host",
		"name": "host",
		"type": "string",
		"default": "",
		"description": "Host name, where no guid is known",
		"displayOptions": {
			"show": {
				"operation": [
					"process_lineage"
				]
			}
		},
		"placeholder": "e.g. LAB-WS-07",
		"routing": {
			"send": {
				"type": "body",
				"property": "host",
				"value": "={{ $value === '' ? undefined : $value }}"
			}
		}
	},
	{
		"displayName": "PID",
		"name": "pid",
		"type": "number",
		"default": "",
		"description": "Process id, where no guid is known",
		"displayOptions": {
			"show": {
				"operation": [
					"process_lineage"
				]
			}
		},
		"placeholder": "e.g. 2092",
		"routing": {
			"send": {
				"type": "body",
				"property": "pid",
				"value": "={{ $value === '' ? undefined : $value }}"
			}
		}
	},
	{
		"displayName": "Time",
		"name": "at",
		"type": "string",
		"default": "",
		"description": "A moment at which it ran, UTC, where no guid is known",
		"displayOptions": {
			"show": {
				"operation": [
					"process_lineage"
				]
			}
		},
		"placeholder": "e.g. 2016-03-16T04:06:00Z",
		"routing": {
			"send": {
				"type": "body",
				"property": "time",
				"value": "={{ $value === '' ? undefined : $value }}"
			}
		}
	},
	{
		"displayName": "Card",
		"name": "card",
		"type": "options",
		"noDataExpression": true,
		"default": "none",
		"description": "Put the answer for people into the data, to be posted into a ticket or a chat",
		"options": [
			{
				"name": "None",
				"value": "none"
			},
			{
				"name": "Markdown",
				"value": "markdown"
			},
			{
				"name": "HTML",
				"value": "html"
			},
			{
				"name": "Both",
				"value": "both"
			}
		],
		"routing": {
			"send": {
				"type": "query",
				"property": "card"
			}
		},
		"displayOptions": {
			"show": {
				"operation": [
					"enrich_alert",
					"process_lineage"
				]
			}
		}
	}
];

/** Sends an alert as the whole body; what is no JSON is sent too, since the responder says best what is wrong with it. */
async function alone(options) {
	const given = this.getNodeParameter("alert");
	options.body = given;
	if (typeof given === "string") {
		try {
			options.body = JSON.parse(given);
		} catch {
			options.body = JSON.stringify(given);
		}
	}
	return options;
}

/** Makes one item of each row of an answer, and an error with the responder's own words of one that failed. */
async function rows(_items, response) {
	const body = response.body;
	if (response.statusCode === 200 && typeof body === "object" && body !== null) {
		const found = body.enrichments || body.signatures || [body];
		return found.map((json) => ({ json }));
	}
	const page = "It answered no JSON: a proxy or a login page is likely in front of it. Open the address from this host.";
	const problem = (body && body.detail && body) || { detail: page, title: "See its log", errors: [] };
	const error = new Error(problem.detail);
	const reasons = problem.errors.map((one) => one.reason).join(" ");
	error.description = `cbsigned answered ${response.statusCode}. ${problem.title}. ${reasons}`.trim();
	throw error;
}

for (const operation of OPERATIONS) {
	operation.routing.output = { postReceive: [rows] };
}
for (const field of FIELDS.filter((one) => one.name === "alert")) {
	field.routing = { send: { preSend: [alone] } };
}

class CbSigned {
	constructor() {
		this.description = {
			displayName: "Carbon Black: Is It Signed?",
			name: "cbSigned",
			icon: "file:cbsigned.svg",
			group: ["transform"],
			version: 1,
			subtitle: '={{ $parameter.operation.replace("_", " ") }}',
			description: "Signing status and process lineage from Carbon Black EDR, by the webhook responder of cbsigned",
			defaults: { name: "cbsigned" },
			inputs: ["main"],
			outputs: ["main"],
			credentials: [{ name: "cbSignedApi", required: true }],
			requestDefaults: {
				baseURL: '={{ $credentials.url.replace(/\\/+$/, "") }}',
				headers: { Accept: "application/json", "Content-Type": "application/json" },
				timeout: 60000,
				ignoreHttpStatusErrors: true,
			},
			properties: [
				{
					displayName: "Operation",
					name: "operation",
					type: "options",
					noDataExpression: true,
					default: OPERATIONS[0].value,
					options: OPERATIONS,
				},
				...FIELDS,
			],
		};
	}
}

module.exports = { CbSigned };
