"""A process of the bench from which others are forked: loading Frappe and this app takes most of the time that a start takes.

As a script it is that process: it takes the number of a socket. Each message is a JSON list of what runs, as `python -c` does
it or `-m`, and of its arguments, and comes with the standard streams; the answers are the process's ID, and its exit code.
"""

from __future__ import annotations

import gc
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress


class Processes:
	"""Starts processes of the bench, one at a time."""

	def __init__(self, python: str, sites: str, environment: Mapping[str, str] | None = None) -> None:
		"""
		:param sites: the folder in which they run
		:param environment: of this process by default
		"""
		self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
		with theirs:
			command = [python, __file__, str(theirs.fileno())]
			self._process = subprocess.Popen(command, cwd=sites, env=environment, pass_fds=[theirs.fileno()])
		self._running = 0

	def close(self) -> None:
		self._socket.close()
		self._process.wait()

	def begin(self, *arguments: str, streams: Sequence[int]) -> int:
		"""Python with these arguments, `-c` or `-m` and so on. After three minutes it is killed.

		:param streams: file descriptors of its standard streams
		:return: its ID
		"""
		self.end()
		socket.send_fds(self._socket, [json.dumps(arguments).encode()], streams)
		self._running = int(self._socket.recv(100))
		return self._running

	def end(self) -> None:
		"""Kill the process that was begun if nobody has waited for it, as after a test that failed."""
		if not self._running:
			return
		if not select.select([self._socket], [], [], 0)[0]:
			with suppress(ProcessLookupError):
				os.kill(self._running, signal.SIGKILL)
		self.ended()

	def ended(self) -> int:
		"""Wait for the process that was begun.

		:return: its exit code; where a signal killed it, the signal's number below zero
		"""
		status = int(self._socket.recv(100))
		self._running = 0
		return status

	def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
		with ExitStack() as stack:
			streams = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
			streams[0].write(stdin)
			streams[0].seek(0)
			self.begin(*arguments, streams=[stream.fileno() for stream in streams])
			status = self.ended()
			for stream in streams[1:]:
				stream.seek(0)
			return subprocess.CompletedProcess(arguments, status, *(stream.read() for stream in streams[1:]))


if __name__ == "__main__":
	# ruff: noqa: F401, to be loaded
	import babel.dates
	import frappe
	import frappe.commands.scheduler
	import frappe.commands.site
	import frappe.commands.translate
	import frappe.commands.utils
	import frappe.core.utils
	import frappe.desk.doctype.notification_log.notification_log
	import frappe.model.document
	import frappe.utils.background_jobs
	import frappe.utils.jinja
	import frappe.utils.logger
	import frappe.utils.password
	import frappe.utils.redis_wrapper
	import frappe.utils.safe_exec
	import frappe.utils.user
	import pymysql

	import connected_app.commands
	import connected_app.connections.doctype.connected_app.connected_app

	gc.freeze()
	sys.path[0] = ""  # as of -c and -m, not this folder
	channel = socket.socket(fileno=int(sys.argv[1]))
	while True:
		request, streams, *_ = socket.recv_fds(channel, 2**17, 3)
		if not request:
			sys.exit()
		process = os.fork()
		if not process:
			break
		for stream in streams:
			os.close(stream)
		channel.send(str(process).encode())
		channel.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())
	channel.close()
	signal.alarm(180)
	for number, stream in enumerate(streams):
		os.dup2(stream, number)
	how, what, *sys.argv[1:] = json.loads(request)
	# In this module, whose frames are the outermost: `site.callers` reads them.
	if how == "-m":
		sys.modules.pop(what, None)
		runpy._run_module_as_main(what, alter_argv=False)
	else:
		exec(compile(what, "<string>", "exec", dont_inherit=True))
