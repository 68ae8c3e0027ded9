"""An OAuth 2.0 / OpenID Connect client in pure Python. Imports no Frappe.

Read `authorization` for the way in, `refresh` for how a grant stays alive, `session` for what developers use.
"""

from .access_token import AccessToken
from .authorization import Attempt, begin, complete
from .client import Client, Settings
from .errors import ConfigurationError, OAuthError, ReconnectRequired, TemporaryFailure
from .grant import Account, Grant
from .grant_types import CLIENT_CREDENTIALS
from .net import Http
from .provider import Provider, Quirks
from .redact import Secret
from .refresh import Refresher
from .revocation import revoke
from .session import Session
from .store import AttemptStore, Failure, GrantStore, LockedGrant
from .token_source import TokenSource

__all__ = [
	"CLIENT_CREDENTIALS",
	"AccessToken",
	"Account",
	"Attempt",
	"AttemptStore",
	"Client",
	"ConfigurationError",
	"Failure",
	"Grant",
	"GrantStore",
	"Http",
	"LockedGrant",
	"OAuthError",
	"Provider",
	"Quirks",
	"ReconnectRequired",
	"Refresher",
	"Secret",
	"Session",
	"Settings",
	"TemporaryFailure",
	"TokenSource",
	"begin",
	"complete",
	"revoke",
]
