"""Check the code: lint, formatting, types, import graph, Frappe's semgrep rules, known vulnerabilities in the libraries
that the app brings along, and half a minute of fuzzing.

	scripts/check          look only
	scripts/check --fix    also fix what ruff can fix by itself
"""

import json
import os
import pathlib
import sys

from scripts.lib.checkout import CHECKOUT, VENVS
from scripts.lib.console import Problem, say
from scripts.lib.processes import exit_on_signals, run
from scripts.lib.virtualenvs import venv_python

# Code that never runs on a site of other people: it commits, since other processes must see what it has stored, reads
# the database to look at it, and drives the form from outside. "Monkey patching" is what that rule takes an import for.
TESTS = ("tests/", "connected_app/tests/", "demo/", "benchmarks/", "scripts/")
NOT_FOR_TESTS = {
	"frappe-manual-commit",
	"frappe-using-db-sql",
	"frappe-cur-frm-usage",
	"frappe-cache-breaks-multitenancy",
	"frappe-monkey-patching-not-allowed",
}

# What is audited: what the app's dependencies bring along, not the tools that stand beside them.
CLOSURE = """
import importlib.metadata as metadata, re
seen, todo = set(), ["connected_app"]
while todo:
	name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
	if name in seen:
		continue
	try:
		requires = metadata.requires(name) or []
	except metadata.PackageNotFoundError:
		continue
	seen.add(name)
	for line in requires:
		if "extra ==" not in line or (name == "pyjwt" and "crypto" in line):
			todo.append(re.match(r"[A-Za-z0-9._-]+", line).group())
print("\\n".join(sorted(seen - {"connected-app"})))
"""


def main(arguments: list[str]) -> int:
	if arguments in (["--help"], ["-h"]):
		say(__doc__)
		return 0
	if arguments not in ([], ["--fix"]):
		say(__doc__)
		return 2
	exit_on_signals()
	try:
		python = venv_python("newest")
	except Problem as problem:
		say(f"checks: did NOT run: {problem}")
		return 1
	if arguments:
		run([python, "-m", "ruff", "check", "--fix", "."], cwd=CHECKOUT)
		run([python, "-m", "ruff", "format", "."], cwd=CHECKOUT)
	steps = {
		"lint": ["ruff", "check", "."],
		"formatting": ["ruff", "format", "--check", "."],
		"types": ["mypy"],
		"import graph": ["tests.layers"],
	}
	good, bad = [], []
	for name, command in steps.items():
		say(f"--- {name}: {' '.join(command)}")
		code, _ = run([python, "-m", *command], show=True, cwd=CHECKOUT)
		(bad if code else good).append(name)
	verdict = audit(python)
	{True: good, False: bad}.get(verdict, []).append("vulnerabilities")
	judged = frappes_rules()
	{True: good, False: bad}.get(judged, []).append("Frappe's semgrep rules")
	fuzzed = fuzz(python)
	{True: good, False: bad}.get(fuzzed, []).append("fuzzing")
	text = f"passed: {', '.join(good) or 'none'}"
	text += f"; FAILED: {', '.join(bad)}" if bad else ""
	text += (
		"; vulnerabilities were not looked up (no answer from the advisory service)"
		if verdict is None
		else ""
	)
	text += "; Frappe's semgrep rules were left out (they cannot be fetched)" if judged is None else ""
	text += "; fuzzing was left out (atheris cannot be installed on this Python)" if fuzzed is None else ""
	say(f"checks: {text}")
	return 1 if bad else 0


def frappes_rules() -> bool | None:
	"""True: nothing found. False: something was. None: semgrep, or the rules, cannot be had.

	$FRAPPE_SEMGREP_RULES may name a checkout of https://github.com/frappe/semgrep-rules.
	"""
	say("--- Frappe's semgrep rules")
	rules = pathlib.Path(os.environ.get("FRAPPE_SEMGREP_RULES") or VENVS / "semgrep-rules")
	if not (rules / "rules").exists():
		url = "https://github.com/frappe/semgrep-rules.git"
		if run(["timeout", "60", "git", "clone", "--quiet", "--depth=1", url, rules])[0]:
			return None
	# In a virtualenv of its own: it pins what others need.
	folder = VENVS / "semgrep"
	semgrep = folder / "bin" / "semgrep"
	if not semgrep.exists():
		run([sys.executable, "-m", "venv", folder])
		if run(["timeout", "300", folder / "bin" / "pip", "--quiet", "install", "semgrep>=1.100"])[0]:
			return None
	command = [semgrep, "scan", "--quiet", "--metrics=off", "--disable-version-check", "--json"]
	code, output = run([*command, "--config", rules / "rules", "."], cwd=CHECKOUT)
	if code:
		say(output[-2000:])
		return False
	found = [result for result in json.loads(output)["results"] if not _is_meant(result)]
	for result in found:
		say(f"{result['path']}:{result['start']['line']}: {result['check_id'].split('.')[-1]}")
	return not found


def _is_meant(result: dict) -> bool:
	rule, path = result["check_id"].split(".")[-1], result["path"]
	return rule in NOT_FOR_TESTS and path.startswith(TESTS)


def fuzz(python) -> bool | None:
	"""True: nothing found. False: something was. None: atheris cannot be had, which has builds for few Pythons."""
	say("--- fuzzing: python -m tests.fuzz.run")
	if run([python, "-c", "import atheris"])[0]:
		command = [
			"timeout",
			"120",
			python,
			"-m",
			"pip",
			"--quiet",
			"install",
			"--only-binary=:all:",
			"atheris>=2.3",
		]
		if run(command)[0]:
			return None
	return not run([python, "-m", "tests.fuzz.run"], show=True, cwd=CHECKOUT)[0]


def audit(python) -> bool | None:
	"""True: nothing known. False: something is. None: nobody could be asked."""
	say("--- vulnerabilities: pip-audit")
	ours = set(run([python, "-c", CLOSURE])[1].split())
	command = ["pip_audit", "--skip-editable", "--progress-spinner=off", "--timeout=5", "--format=json"]
	_, output = run(["timeout", "120", python, "-m", *command], cwd=CHECKOUT)
	found = next((line for line in output.splitlines() if line.startswith("{")), None)
	if found is None:
		return None
	verdict = True
	for package in json.loads(found)["dependencies"]:
		for advisory in package.get("vulns", []):
			counts = package["name"].lower() in ours
			verdict = verdict and not counts
			say(
				f"{package['name']} {package['version']}: {advisory['id']}{'' if counts else ' (a tool only)'}"
			)
	return verdict
