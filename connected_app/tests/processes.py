"""A process of the bench from which others are forked: loading Frappe takes most of the time that a start takes. This app
is loaded again in each.

Run as a script, with the number of a socket. Each message is a JSON list of what runs, as `python -c` does it or `-m`, and of
its arguments, and comes with the standard streams; the answer is the exit code.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys

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
import frappe.utils.password
import frappe.utils.safe_exec
import frappe.utils.user
import jwt
import pymysql
import requests_oauthlib

gc.freeze()
sys.path[0] = ""  # as of -c and -m, not this folder
assert not [name for name in sys.modules if name.split(".")[0] == "connected_app"]
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
	exec(compile(what, "<string>", "exec"))
