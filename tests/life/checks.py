"""What was checked, and how two states of a site are compared."""

from __future__ import annotations

import re

passed = failed = 0

# This app's columns that are made from core's at each install.
DERIVED = ("status", "expires_at", "error_code", "error_values", "retry_at", "failing_since", "idle_since")
# Core's own columns whose text this app replaces: stars, one for each character of the secret.
STARS = ("client_secret", "access_token", "refresh_token")


def chapter(text: str) -> None:
	print(f"--- {text}", flush=True)


def check(text: str, ok: object, detail: object = "") -> None:
	global passed, failed
	passed, failed = passed + bool(ok), failed + (not ok)
	print(f"  {'ok' if ok else 'FAILED'}  {text}{'' if ok or detail == '' else f': {detail}'}", flush=True)


def differences(old: object, new: object, where: str = "") -> list[str]:
	if isinstance(old, dict) and isinstance(new, dict):
		keys = sorted({*old, *new})
		return [line for key in keys for line in differences(old.get(key), new.get(key), f"{where}/{key}")]
	return [] if old == new else [f"{where}: {old!r} → {new!r}"]


def same(text: str, old: object, new: object) -> None:
	found = differences(old, new)
	check(text, not found, "\n      ".join(["", *found[:20]]))


def is_kept(was: list, now: list | None) -> bool:
	"""Whether a column is as it was, or longer. What does not fit, Frappe does not cut, and this app's are longer."""
	if was == now:
		return True
	lengths = [re.fullmatch(r"varchar\((\d+)\)", (column or [""])[0]) for column in (was, now)]
	return all(lengths) and int(lengths[0][1]) <= int(lengths[1][1]) and was[1:] == now[1:]


def nothing_lost(
	old: dict,
	new: dict,
	renamed: dict | None = None,
	core_knows: tuple[str, ...] = (),
	as_before: dict | None = None,
) -> None:
	"""What was there is there, whatever was added beside it.

	:param renamed: rows that have another name now
	:param core_knows: columns that were computed anew for core
	:param as_before: columns as they once were, which they may be again
	"""
	renamed = renamed or {}
	columns = [
		f"/{table}/{name}: {was!r} → {new['columns'][table].get(name)!r}"
		for table in old["columns"]
		for name, was in old["columns"][table].items()
		if not is_kept(was, new["columns"][table].get(name))
		and new["columns"][table].get(name) != (as_before or {}).get(table, {}).get(name)
	]
	check("no column was dropped, changed or made shorter", not columns, columns)
	lost = []
	for table, rows in old["rows"].items():
		for name, row in rows.items():
			found = new["rows"][table].get(renamed.get(name, name))
			if found is None:
				lost.append(f"{table} {name} is gone")
				continue
			for field, value in row.items():
				if field in (*core_knows, *DERIVED) or (field in ("name", "parent") and value in renamed):
					continue
				if field == "owner" and found["owner"] == found.get("user"):
					continue  # core-defects 23: it belonged to whoever began the flow
				now = bool(found[field]) if field in STARS else found[field]
				was = bool(value) if field in STARS else value
				if now != was:
					lost.append(f"{table} {name}.{field}: {was!r} → {now!r}")
	check(
		f"no row and no value was lost ({sum(len(rows) for rows in old['rows'].values())} rows)",
		not lost,
		lost,
	)
	lost = [
		key
		for key, value in old["passwords"].items()
		if new["passwords"].get("/".join(renamed.get(part, part) for part in key.split("/"))) != value
	]
	check(f"no password was touched ({len(old['passwords'])})", not lost, lost)
