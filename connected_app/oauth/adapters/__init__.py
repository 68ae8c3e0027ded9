"""A connection for other libraries. Each module here imports its library; only code that uses the library imports the
module.

	httpx.py, httpx2.py    `Auth`, for clients of either kind; what they have in common is in auth_flow.py
	google.py              `Credentials`, for google-auth and google-api-python-client
	azure.py               `Credential` and `Policy`, for azure-core and what is built on it; both also for asyncio
	sasl.py                `Login`, for imaplib and smtplib, and the strings that it sends

All take a `TokenSource`, so that long-lived clients use tokens that other processes have refreshed, and raise what it
raises.
"""
