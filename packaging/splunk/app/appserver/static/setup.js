/* The setup page: reads and writes cbsigned.conf and the API token, and lets the look-up handler try the connection.
   Everything that comes from outside is shown as text, never as markup; the token leaves the page and never comes back. */
(function () {
  "use strict";

  /* JSON: names, kinds, ranges and defaults are those of the core's settings; a test compares the two. */
  const FIELDS = [
    {"section": "edr", "name": "url", "kind": "url", "default": "", "low": 0, "high": 0, "group": "Server",
     "label": "Server address", "help": "Begins with https://, for example https://cb.example.test"},
    {"section": "edr", "name": "token", "kind": "secret", "default": "", "low": 0, "high": 0, "group": "Server",
     "label": "API token", "help": "Of a console user who may view the sensor groups that you search. Stored encrypted; never shown again."},
    {"section": "edr", "name": "ca_file", "kind": "text", "default": "", "low": 0, "high": 0, "group": "Server",
     "label": "CA file", "help": "PEM file on the search head: the CA of the server's certificate, or the certificate itself. Empty: public CAs."},
    {"section": "edr", "name": "tls_hostname", "kind": "text", "default": "", "low": 0, "high": 0, "group": "Server",
     "label": "Name in the certificate", "help": "Where it is not the name in the address."},
    {"section": "edr", "name": "proxy", "kind": "url", "default": "", "low": 0, "high": 0, "group": "Connection",
     "label": "Proxy", "help": "For example http://proxy.example.test:3128; without user and password, which could be read here."},
    {"section": "edr", "name": "timeout_s", "kind": "seconds", "default": "30", "low": 1, "high": 120, "group": "Connection",
     "label": "Time limit of a request (seconds)", "help": "For one request without an answer."},
    {"section": "edr", "name": "retries", "kind": "number", "default": "3", "low": 0, "high": 10, "group": "Connection",
     "label": "Further tries", "help": "After 429, 502, 503, 504 and lost connections."},
    {"section": "edr", "name": "parallel", "kind": "number", "default": "4", "low": 1, "high": 16, "group": "Connection",
     "label": "Requests at the same time", "help": "Fewer spare the server, more answer sooner."},
    {"section": "cache", "name": "signed_s", "kind": "seconds", "default": "604800", "low": 0, "high": 31536000, "group": "Answers kept",
     "label": "Signing status (seconds)", "help": "An answer that rests on a record. 604800 is a week."},
    {"section": "cache", "name": "unknown_s", "kind": "seconds", "default": "600", "low": 0, "high": 86400, "group": "Answers kept",
     "label": "Unknown (seconds)", "help": "How soon a file without a record is asked for again. Failures are never kept."},
    {"section": "cache", "name": "process_s", "kind": "seconds", "default": "3600", "low": 0, "high": 604800, "group": "Answers kept",
     "label": "Process (seconds)", "help": "And so its lineage."}
  ];
  /* end of JSON */

  const APP = "/servicesNS/nobody/cbsigned";
  const CONF = APP + "/configs/conf-cbsigned/";
  const PASSWORDS = APP + "/storage/passwords";
  const TOKEN = PASSWORDS + "/cbsigned%3Aedr_token%3A";
  const WAIT_MS = 120000;
  const inputs = {};
  const state = {stored: false, url: "", verify_tls: "yes"};

  function element(tag, attributes, children) {
    const made = document.createElement(tag);
    Object.entries(attributes || {}).forEach(([name, value]) => made.setAttribute(name, value));
    (children || []).forEach((child) => made.append(child));
    return made;
  }

  /* ---- splunkd ---- */

  function formKey() {
    const found = {};
    document.cookie.split(";").forEach((part) => {
      const cookie = /^\s*splunkweb_csrf_token_(\d+)=(.*)$/.exec(part);
      if (cookie) { found[cookie[1]] = decodeURIComponent(cookie[2]); }
    });
    const port = String((window.$C && window.$C.MRSPARKLE_PORT_NUMBER) || window.location.port);
    return found[port] || Object.values(found)[0] || "";
  }

  async function ask(method, path, body, type) {
    const root = window.location.pathname.split("/app/")[0];
    const ending = new AbortController();
    const timer = window.setTimeout(() => ending.abort(), WAIT_MS);
    const mark = path.includes("?") ? "&" : "?";
    const headers = {"X-Splunk-Form-Key": formKey(), "X-Requested-With": "XMLHttpRequest"};
    if (body !== undefined) { headers["Content-Type"] = type || "application/x-www-form-urlencoded"; }
    try {
      const answer = await fetch(root + "/splunkd/__raw" + path + mark + "output_mode=json",
        {method: method, headers: headers, body: body, credentials: "same-origin", signal: ending.signal, cache: "no-store"});
      const text = await answer.text();
      let told = {};
      try { told = JSON.parse(text) || {}; } catch (error) { told = {}; }
      return {status: answer.status, ok: answer.ok, told: told};
    } catch (error) {
      return {status: 0, ok: false, told: {}};
    } finally {
      window.clearTimeout(timer);
    }
  }

  function form(values) { return new URLSearchParams(values).toString(); }

  function why(answer, right) {
    const messages = Array.isArray(answer.told.messages) ? answer.told.messages : [];
    const text = answer.told.error || messages.map((message) => message.text).join(" ");
    if (answer.status === 0) { return "Splunk gave no answer. Check the network, then try again."; }
    if (answer.status === 401) { return "Your session has ended. Log in again."; }
    if (answer.status === 403) { return "Splunk refused it: you need " + right + "."; }
    return text || "Splunk answered " + answer.status + ". Look into splunkd.log.";
  }

  function must(answer, what, right) {
    if (!answer.ok) { throw new Error(what + " " + why(answer, right)); }
    return answer.told;
  }

  /* ---- what the fields may hold: as the core reads them ---- */

  function problem(field, text) {
    if (text === "") { return field.name === "url" ? "Give the address of the server." : ""; }
    if (field.kind === "seconds" || field.kind === "number") {
      const pattern = field.kind === "seconds" ? /^\d{1,15}(\.\d{1,6})?$/ : /^\d{1,15}$/;
      const fits = pattern.test(text) && Number(text) >= field.low && Number(text) <= field.high;
      return fits ? "" : "Expected " + (field.kind === "seconds" ? "a number of seconds" : "a whole number") + ", " +
        field.low + " to " + field.high + ". Empty is " + field.default + ".";
    }
    if (field.kind === "secret") {
      return /^[\x21-\x7e]{1,512}$/.test(text) ? "" : "Expected up to 512 characters without spaces. Copy the token again.";
    }
    if (field.kind === "url") { return urlProblem(field, text); }
    if (field.name === "tls_hostname" && !/^[A-Za-z0-9_](?:[A-Za-z0-9_. -]{0,252}[A-Za-z0-9_])?$/.test(text)) {
      return "Expected a host name such as cb.local.";
    }
    return "";
  }

  function urlProblem(field, text) {
    const example = field.name === "url" ? "https://cb.example.test" : "http://proxy.example.test:3128";
    let parts = null;
    try { parts = /[\s\u0000-\u001f]/.test(text) ? null : new URL(text); } catch (error) { parts = null; }
    if (!parts || !/^https?:\/\/[^/]/i.test(text)) { return "Expected an address such as " + example + "."; }
    if (parts.username || parts.password) {
      return field.name === "url" ? "Expected the server alone; the token has a field of its own."
        : "A password would be readable here. Let the proxy admit this search head by its address.";
    }
    if (field.name === "url" && parts.protocol !== "https:") { return "Expected https://: the token must not travel in the clear."; }
    if (field.name === "url" && (text.includes("?") || text.includes("#"))) { return "Expected the server alone, as " + example + "."; }
    return "";
  }

  function validate(needsToken) {
    let first = null;
    FIELDS.forEach((field) => {
      const shown = inputs[field.name];
      let text = problem(field, shown.input.value.trim());
      if (field.kind === "secret" && shown.input.value === "" && needsToken && !state.stored) { text = "Give the API token."; }
      shown.error.textContent = text;
      shown.input.setAttribute("aria-invalid", text ? "true" : "false");
      if (text && !first) { first = shown.input; }
    });
    if (first) {
      first.focus();
      tell("alert", "Nothing was sent: see the marked fields.");
    }
    return !first;
  }

  function settings() {
    const values = {edr: {}, cache: {}};
    FIELDS.filter((field) => field.kind !== "secret").forEach((field) => {
      values[field.section][field.name] = inputs[field.name].input.value.trim();
    });
    return values;
  }

  /* ---- reading, saving, testing ---- */

  async function load() {
    for (const section of ["edr", "cache"]) {
      const told = must(await ask("GET", CONF + section), "The settings could not be read.", "the role admin or cbsigned_admin");
      const content = (told.entry && told.entry[0] && told.entry[0].content) || {};
      FIELDS.filter((field) => field.section === section && field.kind !== "secret").forEach((field) => {
        const value = content[field.name];
        inputs[field.name].input.value = value === undefined || value === null ? field.default : String(value);
      });
      if (section === "edr") { state.url = inputs.url.input.value; }
      if (section === "edr" && content.verify_tls !== undefined) { state.verify_tls = String(content.verify_tls); }
    }
    /* f=realm: the names alone, so that no secret comes to the browser */
    const listed = await ask("GET", PASSWORDS + "?count=0&f=realm&f=username&search=realm%3Dcbsigned");
    const entries = listed.ok && Array.isArray(listed.told.entry) ? listed.told.entry : [];
    state.stored = entries.some((entry) => entry.name === "cbsigned:edr_token:");
    showStored();
    if (/^(no|0|false|off)$/i.test(state.verify_tls)) {
      tell("alert", "Certificate checks are off: verify_tls is no in cbsigned.conf. Remove that line unless this is a laboratory.");
    }
  }

  function showStored() {
    inputs.token.input.placeholder = state.stored ? "stored; leave empty to keep it" : "";
  }

  async function saveToken() {
    const token = inputs.token.input.value;
    if (token === "") { return; }
    const right = "the role admin or sc_admin (storing a password needs it)";
    let answer = await ask("POST", TOKEN, form({password: token}));
    if (answer.status === 404) {
      answer = await ask("POST", PASSWORDS, form({name: "edr_token", realm: "cbsigned", password: token}));
    }
    must(answer, "The token was not stored, and nothing else was changed.", right);
    state.stored = true;
    inputs.token.input.value = "";
    showStored();
  }

  async function save() {
    if (!validate(true)) { return; }
    tell("status", "Saving …");
    await saveToken();
    const values = settings();
    for (const section of ["edr", "cache"]) {
      must(await ask("POST", CONF + section, form(values[section])), "The settings were not saved.", "the role admin or sc_admin");
    }
    must(await ask("POST", APP + "/configs/conf-app/install", form({is_configured: "true"})),
      "Saved, but the app was not marked as set up.", "the role admin or sc_admin");
    const reloaded = await ask("POST", "/services/apps/local/cbsigned/_reload", "");
    tell("status", reloaded.ok ? "Saved. Searches use it within half a minute."
      : "Saved. The app could not be reloaded (" + why(reloaded, "the role admin") + ") so Splunk may show this page again until it restarts.");
  }

  async function test() {
    /* who may test need not be allowed to list passwords; where a server is stored, the handler knows of a token */
    if (!validate(state.url === "")) { return; }
    tell("status", "Asking the server …");
    const question = {settings: settings()};
    question.settings.edr.verify_tls = state.verify_tls;
    if (inputs.token.input.value !== "") { question.token = inputs.token.input.value; }
    const told = must(await ask("POST", "/services/cbsigned_admin/test", JSON.stringify(question), "application/json"),
      "The connection was not tested.", "the capability cbsigned_manage: the role cbsigned_admin, admin or sc_admin has it");
    showFindings(Array.isArray(told.findings) ? told.findings : []);
  }

  function showFindings(findings) {
    const failed = findings.filter((finding) => finding.ok === false).length;
    const words = {"true": "works", "false": "does not work", "null": "cannot be told"};
    const summary = findings.length === 0 ? "The handler told nothing. Look into cbsigned.log."
      : failed ? failed + " of " + findings.length + " do not work:" : "The connection works:";
    const items = findings.map((finding) => element("li", {"class": "cbsigned-" + String(finding.ok)}, [
      element("strong", {}, [String(finding.topic) + " " + (words[String(finding.ok)] || "cannot be told")]),
      ": " + String(finding.text)
    ]));
    tell(failed || !findings.length ? "alert" : "status", summary, element("ul", {}, items));
  }

  /* ---- the page ---- */

  let results = null;
  let busy = false;

  function tell(role, text, more) {
    results.className = "cbsigned-results cbsigned-" + role;
    results.replaceChildren(element("p", {}, [text]), ...(more ? [more] : []));
  }

  function whenPressed(button, action) {
    return async (event) => {
      event.preventDefault();
      if (busy || document.querySelector("#cbsigned-setup form[aria-busy]")) { return; }
      busy = true;
      button.setAttribute("aria-busy", "true");
      try {
        await action();
      } catch (error) {
        tell("alert", error.message);
      } finally {
        busy = false;
        button.removeAttribute("aria-busy");
      }
    };
  }

  function row(field) {
    const id = "cbsigned-" + field.name;
    const input = element("input", {
      id: id, name: field.name, type: field.kind === "secret" ? "password" : "text", autocomplete: field.kind === "secret" ? "new-password" : "off",
      spellcheck: "false", maxlength: "2000", "aria-describedby": id + "-help " + id + "-error"
    });
    if (field.kind === "seconds" || field.kind === "number") { input.setAttribute("inputmode", "decimal"); }
    const error = element("span", {id: id + "-error", "class": "cbsigned-error"});
    inputs[field.name] = {input: input, error: error};
    return element("div", {"class": "cbsigned-row"}, [
      element("label", {"for": id}, [field.label]), input,
      element("span", {id: id + "-help", "class": "cbsigned-help"}, [field.help]), error
    ]);
  }

  function build(place) {
    const groups = [...new Set(FIELDS.map((field) => field.group))].map((group) => element("fieldset", {}, [
      element("legend", {}, [group]), ...FIELDS.filter((field) => field.group === group).map(row)
    ]));
    const saveButton = element("button", {type: "submit", "class": "btn btn-primary"}, ["Save"]);
    const testButton = element("button", {type: "button", "class": "btn", id: "cbsigned-test"}, ["Test connection"]);
    results = element("div", {id: "cbsigned-results", "class": "cbsigned-results", role: "status", "aria-live": "polite", "aria-atomic": "true"});
    const page = element("form", {novalidate: "", autocomplete: "off", "aria-label": "Settings of the Carbon Black EDR server"}, [
      ...groups, element("div", {"class": "cbsigned-buttons"}, [saveButton, testButton]), results
    ]);
    page.addEventListener("submit", whenPressed(saveButton, save));
    testButton.addEventListener("click", whenPressed(testButton, test));
    place.replaceChildren(page);
    /* nothing can be typed that the stored settings would overwrite a moment later */
    groups.forEach((group) => { group.disabled = true; });
    page.setAttribute("aria-busy", "true");
    load().catch((error) => tell("alert", error.message)).finally(() => {
      groups.forEach((group) => { group.disabled = false; });
      page.removeAttribute("aria-busy");
    });
  }

  function whenThere() {
    const place = document.getElementById("cbsigned-setup");
    if (place) { build(place); return; }
    const watcher = new MutationObserver(() => {
      const found = document.getElementById("cbsigned-setup");
      if (found) { watcher.disconnect(); build(found); }
    });
    watcher.observe(document.documentElement, {childList: true, subtree: true});
  }

  whenThere();
}());
