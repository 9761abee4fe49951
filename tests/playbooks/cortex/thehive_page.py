"""Reports as TheHive shows them: AngularJS 1 and Bootstrap 3 from npm, a template compiled against a report."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

from connectors.splunk.chromium import Page
from support import PROJECT

ANGULAR, BOOTSTRAP = "1.8.3", "3.4.1"
FOLDER = PROJECT / ".venvs" / f"angular-{ANGULAR}-bootstrap-{BOOTSTRAP}"
_NPM = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
_PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>report</title>
<link rel="stylesheet" href="BOOTSTRAP"><script src="ANGULAR"></script></head>
<body style="padding:12px"><div id="report"></div><script>
window.problems = [];
window.onerror = function (message) { window.problems.push(message); };
window.alert = function () { window.problems.push('a script of the report ran'); };
var given = GIVEN;
angular.module('page', []).factory('$exceptionHandler', function () {
  return function (problem) { window.problems.push(String(problem)); };
}).run(function ($compile, $rootScope) {
  var scope = angular.extend($rootScope.$new(), given.scope);
  angular.element(document.getElementById('report')).append($compile(given.template)(scope));
});
angular.bootstrap(document.body, ['page']);
</script></body></html>
"""


def _lacking(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def installed() -> Path:
    """Return where AngularJS and Bootstrap are, installed on the first call; skip where that cannot be, not in CI."""
    modules = FOLDER / "node_modules"
    if modules.exists():
        return modules
    npm = shutil.which("npm")
    if npm is None:
        _lacking("AngularJS is not installed and there is no npm: apt-get install npm")
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        command = [npm, "install", *_NPM, f"--prefix={folder}/whole", f"angular@{ANGULAR}", f"bootstrap@{BOOTSTRAP}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            _lacking(f"npm cannot install AngularJS: {done.stderr[-300:]}")
        with contextlib.suppress(OSError):  # another run was faster
            os.replace(f"{folder}/whole", FOLDER)
    return modules


def report_page(path: Path, template: str, content: Any, *, success: bool = True) -> str:
    """Write a page that compiles a template against a report, as TheHive's `report` directive does; return its address.

    Args:
        template: HTML of `short.html` or `long.html`.
        content: `full` of the report, its `summary` for the short one, or what a failed job has.
    """
    modules = installed()
    given = {
        "template": template,
        "scope": {"content": content, "success": success, "artifact": {"data": "observable"}},
    }
    text = json.dumps(given).replace("<", "\\u003c")
    page = _PAGE.replace("BOOTSTRAP", (modules / "bootstrap/dist/css/bootstrap.min.css").as_uri())
    path.write_text(
        page.replace("ANGULAR", (modules / "angular/angular.min.js").as_uri()).replace("GIVEN", text), "utf-8"
    )
    return path.as_uri()


def shown(page: Page, url: str) -> None:
    """Go to a page and wait until it is there, pictures included; nothing of it changes afterwards."""
    page("Page.navigate", url=url)
    page.run(
        "new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', () => done()))"
    )
