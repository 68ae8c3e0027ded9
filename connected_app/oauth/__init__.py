"""An OAuth 2.0 / OpenID Connect client in pure Python. Imports no Frappe.

Read `authorization` for the way in, `refresh` for how a grant stays alive, `session` for what developers use.
"""

from .authorization import Attempt, begin, complete
from .config import ClientConfig
from .errors import ConfigurationError, OAuthError, ReconnectRequired, TemporaryFailure
from .grant import Account, Grant
from .net import Http
from .ports import AttemptStore, Failure, GrantStore, LockedGrant
from .redact import Secret
from .refresh import ClientCredentials, Refresher
from .revocation import revoke
from .session import Session

__all__ = [
	"Account",
	"Attempt",
	"AttemptStore",
	"ClientConfig",
	"ClientCredentials",
	"ConfigurationError",
	"Failure",
	"Grant",
	"GrantStore",
	"Http",
	"LockedGrant",
	"OAuthError",
	"ReconnectRequired",
	"Refresher",
	"Secret",
	"Session",
	"TemporaryFailure",
	"begin",
	"complete",
	"revoke",
]
