"""Which code asks for a secret. Read from the call stack, which no document and no argument can forge.

Frappe evaluates many texts that an admin writes, without writing code: conditions, formulas, templates. Whatever
evaluates them, the frames of such a text do not belong to a module, and that is how they are known here.
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

P = ParamSpec("P")
R = TypeVar("R")
# A module of Frappe's, and a function in it.
FrappeFunction = tuple[str, str]

# What runs scripts that only a Script Manager can write: the module, and where the script stands. Neither a Web Page's
# script is among them, nor what a System Manager types into the System Console.
SCRIPT_RUNNERS = {
	"frappe.core.doctype.server_script.server_script": ("Server Script", "script"),
	"frappe.core.doctype.report.report": ("Report", "report_script"),
}
# Sends for everyone, a script or a template that queues a mail included, and shows no token.
MAIL_SENDER = "frappe.email.doctype.email_queue.email_queue"
EMAIL_ACCOUNT = "frappe.email.doctype.email_account.email_account"
# Those functions of Frappe's that may have a token because they use it themselves and return none.
CONSUMERS = frozenset(
	{
		(EMAIL_ACCOUNT, "validate"),
		(EMAIL_ACCOUNT, "validate_frappe_mail_settings"),
		(EMAIL_ACCOUNT, "get_inbound_mails"),
		(EMAIL_ACCOUNT, "append_email_to_sent_folder"),
		("frappe.integrations.doctype.connected_app.connected_app", "has_token"),
	}
)
# Where people who have a shell evaluate what they type.
CONSOLES = frozenset({"__main__", "frappe.commands.utils"})


class Caller(Enum):
	CODE = 1
	SCRIPT = 2
	# An expression, a template, or Frappe's code on behalf of nobody knows whom.
	OTHER = 3


def caller(*, also: FrappeFunction | None = None, of_call: bool = True) -> Caller:
	"""Who is responsible for the call of a function of this app: the nearest in the stack that is neither this app,
	nor Frappe, nor a library.

	What other apps do, in a hook of a document that a script saves for instance, is theirs to decide.

	:param also: a function of Frappe's that may ask, beside `CONSUMERS`
	:param of_call: False where a method is only looked up, which Frappe does in many ways
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
			# The list of installed apps may be in Redis: it is not asked about libraries, which have no modules of Frappe's.
			by_frappe = by_frappe and not _names(code, called)
			break
		frame = frame.f_back
	if by_frappe:
		return Caller.OTHER
	return Caller.SCRIPT if from_script else Caller.CODE


def _names(code: CodeType, function: str) -> bool:
	"""Whether `code` itself calls `function`. An expression can put one method in the place of another for somebody else
	to call (`doc.set("as_dict", …)`), who does not name what is called then."""
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
	if not hasattr(frappe.local, "connected_app_scripts"):
		frappe.local.connected_app_scripts = set()
	known: set[tuple[str, ...]] = frappe.local.connected_app_scripts
	if (*where, script) not in known and frappe.db.get_value(*where) == script:
		known.add((*where, script))
	return (*where, script) in known


def refuse() -> None:
	"""
	:raises frappe.PermissionError:
	"""
	frappe.throw(
		_("Tokens and sessions are only for the code of apps and for Server Scripts."), frappe.PermissionError
	)


class for_code(Generic[P, R]):
	"""A decorator for methods of documents that give a secret, or act with one.

	Neither are they called by an expression, nor looked up, to be called by somebody else later. What a script looks
	up stays a script's.

	:param also: a function of Frappe's that may call the method, beside `CONSUMERS`
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
