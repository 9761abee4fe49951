// Made by packaging/manifests.py
"use strict";

class CbSignedApi {
	constructor() {
		this.name = "cbSignedApi";
		this.displayName = "cbsigned API";
		this.properties = [
			{
				displayName: "Address",
				name: "url",
				type: "string",
				default: "http://127.0.0.1:8787",
				required: true,
				description: "Where cbsigned serve listens",
			},
			{
				displayName: "Token",
				name: "token",
				type: "string",
				typeOptions: { password: true },
				default: "",
				required: true,
				description: "Bearer token of a sender of its own",
			},
		];
		this.authenticate = {
			type: "generic",
			properties: { headers: { Authorization: '=Bearer {{ $credentials.token }}' } },
		};
		this.test = {
			request: {
				baseURL: '={{ $credentials.url.replace(/\\/+$/, "") }}',
				url: "/v1/signed",
				method: "POST",
				body: { hashes: ["00000000000000000000000000000000"] },
			},
		};
	}
}

module.exports = { CbSignedApi };
