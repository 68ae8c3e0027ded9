"""Which code asks for a secret, by the call stack, which no document and no argument can forge.

Frappe evaluates many texts that admins enter without deploying code: conditions, formulas, templates. Whatever evaluates
them, the frames of such a text belong to no module; by this they are recognized here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from functools import wraps
from types import CodeType, FrameType, MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import frappe
from frappe import _
from frappe.utils.safe_exec import SERVER_SCRIPT_FILE_PREFIX
from frappe.utils.safe_exec import safe_exec as run_script
from jinja2.sandbox import unsafe

from connected_app.site.database import own_connection

P = ParamSpec("P")
R = TypeVar("R")
# A module of Frappe, and a function in it.
FrappeFunction = tuple[str, str]

# The modules that run scripts which only a Script Manager can write, with the DocType and field of these scripts. Not those
# that run a Web Page's script, nor the System Console, in which any System Manager types.
SCRIPT_RUNNERS = {
	"frappe.core.doctype.server_script.server_script": ("Server Script", "script"),
	"frappe.core.doctype.report.report": ("Report", "report_script"),
}
# Sends mail for everyone, also for a script or a template that queues one, and discloses no token.
MAIL_SENDER = "frappe.email.doctype.email_queue.email_queue"
EMAIL_ACCOUNT = "frappe.email.doctype.email_account.email_account"
# Functions of Frappe that may get a token: they use it themselves and do not return it.
CONSUMERS = frozenset(
	{
		(EMAIL_ACCOUNT, "validate"),
		(EMAIL_ACCOUNT, "validate_frappe_mail_settings"),
		(EMAIL_ACCOUNT, "get_inbound_mails"),
		(EMAIL_ACCOUNT, "append_email_to_sent_folder"),
		("frappe.integrations.doctype.connected_app.connected_app", "has_token"),
	}
)
# Consoles: people with a shell evaluate what they type.
CONSOLES = frozenset({"__main__", "frappe.commands.utils"})


class Caller(Enum):
	CODE = 1
	SCRIPT = 2
	# An expression, a template, or Frappe's code on behalf of an unknown caller.
	OTHER = 3


def caller(*, also: FrappeFunction | None = None, of_call: bool = True) -> Caller:
	"""Who is responsible for calling a function of this app: the nearest code on the stack that is neither this app, nor
	Frappe, nor a library.

	Another app is responsible for what it does, even if a script has caused it, for instance by saving a document with hooks.

	:param also: a function of Frappe that may ask, besides `CONSUMERS`
	:param of_call: False if a method is only looked up, which Frappe does in many ways
	"""
	frame: FrameType | None = sys._getframe(1)
	by_frappe: bool | None = None if of_call else False
	called, from_script = "", False
	while frame:
		code, name = frame.f_code, frame.f_globals.get("__name__")
		if not isinstance(name, str):
			name = ""
		module = sys.modules.get(name)
		if getattr(module, "__dict__", None) is not frame.f_globals:
			if by_frappe and not _names(code, called):
				return Caller.OTHER
			return _of_text(frame)
		app = name.partition(".")[0]
		if app == "connected_app":
			from_script = from_script or code is _FROM_SCRIPT
			if code not in (_DOOR, _FROM_SCRIPT):
				by_frappe = bool(by_frappe) and not _names(code, called)
		elif name in CONSOLES and code.co_filename.startswith("<"):
			return Caller.CODE
		elif app == "frappe":
			function = (name, code.co_name)
			if by_frappe and not _names(code, called):
				return Caller.OTHER
			if name == MAIL_SENDER:
				return Caller.CODE
			if by_frappe is None:
				by_frappe = True
			if function in CONSUMERS or function == also or name.rpartition(".")[2].startswith("test_"):
				by_frappe = False
			called = code.co_name
		elif app in frappe.local.app_modules and app in frappe.get_installed_apps():
			# The list of installed apps may be in Redis, so look it up only for packages with Frappe modules, not for libraries.
			by_frappe = by_frappe and not _names(code, called)
			break
		frame = frame.f_back
	if by_frappe:
		return Caller.OTHER
	return Caller.SCRIPT if from_script else Caller.CODE


def _names(code: CodeType, function: str) -> bool:
	"""Whether `code` itself names `function`. An expression can replace a method that other code then calls unknowingly
	(`doc.set("as_dict", …)`)."""
	return function in code.co_names or function in code.co_consts


def _of_text(text: FrameType) -> Caller:
	if not text.f_code.co_filename.startswith(SERVER_SCRIPT_FILE_PREFIX):
		return Caller.OTHER
	frame: FrameType | None = text
	while frame and frame.f_code is not run_script.__code__:
		frame = frame.f_back
	runner = frame and frame.f_back
	return Caller.SCRIPT if frame and runner and _is_stored(frame, runner) else Caller.OTHER


def _is_stored(run: FrameType, runner: FrameType) -> bool:
	"""Whether the script is what stands in the database: a text can make a document up, and have it run its script."""
	doctype, field = SCRIPT_RUNNERS.get(str(runner.f_globals.get("__name__")), ("", ""))
	document = runner.f_locals.get("self") or runner.f_locals.get("script")
	if not doctype or document is None:
		return False
	# Not as the document says, which a text can change.
	where, script = (doctype, str(document.name), field), run.f_locals["script"]
	if (*where, script) not in _known():
		# Without writes of its own, this transaction sees only what is committed.
		seen = not frappe.db.transaction_writes and frappe.db.get_value(*where) == script
		if seen or _is_committed(where, script):
			_known().add((*where, script))
	return (*where, script) in _known()


def _is_committed(where: tuple[str, str, str], script: str) -> bool:
	"""Not as this transaction sees it: a text can write into that without being asked for a permission (`doc.db_set`). And
	Frappe may take a script from its cache that was stored after the transaction began."""
	with own_connection():
		return bool(frappe.db.get_value(*where) == script)


def _known() -> set[tuple[str, ...]]:
	"""The scripts that this request has found stored."""
	if not hasattr(frappe.local, "connected_app_scripts"):
		frappe.local.connected_app_scripts = set()
	known: set[tuple[str, ...]] = frappe.local.connected_app_scripts
	return known


def script_saved(script: Any, _event: str) -> None:
	"""Hook of the DocTypes of `SCRIPT_RUNNERS`: what code or a form has saved may run before it is committed."""
	if caller() is not Caller.OTHER:
		field = dict(SCRIPT_RUNNERS.values())[script.doctype]
		_known().add((script.doctype, str(script.name), field, str(script.get(field) or "")))


def refuse() -> None:
	"""
	:raises frappe.PermissionError:
	"""
	frappe.throw(
		_("Tokens and sessions are only for the code of apps and for Server Scripts."), frappe.PermissionError
	)


class for_code(Generic[P, R]):
	"""A decorator for methods of documents that return a secret, or use one.

	An expression can neither call them nor look them up for other code to call later. A method that a script has looked up
	counts as called by the script.

	:param also: a function of Frappe that may call the method, besides `CONSUMERS`
	"""

	def __init__(self, method: Callable[Concatenate[Any, P], R], also: FrappeFunction | None = None) -> None:
		self.method = unsafe(_door(method, also))

	@overload
	def __get__(self, document: None, kind: type) -> Callable[Concatenate[Any, P], R]: ...
	@overload
	def __get__(self, document: object, kind: type | None = None) -> Callable[P, R]: ...
	def __get__(self, document: Any, kind: type | None = None) -> Any:
		if document is None:
			return self.method
		bound = MethodType(self.method, document)
		who = caller(of_call=False)
		if who is Caller.OTHER:
			refuse()
		return unsafe(_from_script(bound)) if who is Caller.SCRIPT else bound


def _door(method: Callable[..., Any], also: FrappeFunction | None = None) -> Callable[..., Any]:
	@wraps(method)
	def door(*args: Any, **kwargs: Any) -> Any:
		if caller(also=also) is Caller.OTHER:
			refuse()
		return method(*args, **kwargs)

	return door


def _from_script(bound: Callable[..., Any]) -> Callable[..., Any]:
	def from_script(*args: Any, **kwargs: Any) -> Any:
		return bound(*args, **kwargs)

	return from_script


# All closures of a function share its code.
_DOOR = _door(refuse).__code__
_FROM_SCRIPT = _from_script(refuse).__code__
