"""Every error: which branch it is, the sentence for a person, and what to do. docs/errors.md is made from it.

	raise error("endpoint_missing", label)

A key is an error's code; `code/variant` is another sentence of the same code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import ConfigurationError, OAuthError, ReconnectRequired, Sentence, TemporaryFailure


@dataclass(frozen=True)
class Entry:
	"""
	:param sentence: with `{0}` for the values that an error is raised with
	:param action: what to do next, with the same values; empty for that of the branch
	:param happened, who, how: a row of docs/errors.md; a variant has none
	"""

	branch: type[OAuthError]
	sentence: str
	action: str = ""
	happened: str = ""
	who: str = ""
	how: str = ""


CATALOGUE = {
	# Reconnect required
	"consent_declined": Entry(
		ReconnectRequired,
		"Access was not granted at the provider.",
		"Nothing was changed. Connect again if you want to grant it after all.",
		"The person pressed *Cancel* at the provider.",
		"The person",
		"Connect again, if access is wanted after all.",
	),
	"interaction_required": Entry(
		ReconnectRequired,
		"The provider wants the user to log in, or an administrator to consent there.",
		"Please connect again; if this happens twice, tell an administrator.",
		"The provider says that the user has to log in, or an administrator to consent, there.",
		"The person",
		"Connect again; if it happens twice, an administrator allows this client at the provider.",
	),
	"not_connected": Entry(
		ReconnectRequired,
		"There is no connection yet.",
		"Please connect first.",
		"There is no connection yet, or it was disconnected.",
		"The person",
		"Connect.",
	),
	"no_default_account": Entry(
		ReconnectRequired,
		"Other accounts are connected, but none of them is the default.",
		"Please choose one as default on My Connections, or connect another.",
		"Several accounts were connected, and the default one was disconnected. None of the others takes its place by itself: the caller would act as somebody else.",
		"The person",
		"Choose one as default on My Connections, or connect another; or name the account: `get_oauth2_session(user, account=...)`.",
	),
	"account_not_connected": Entry(
		ReconnectRequired,
		"The account {0} is not connected.",
		"Please connect it first.",
		"An account was asked for, by ID or name, that this user has not connected, or has disconnected.",
		"The person",
		"Connect that account.",
	),
	"account_ambiguous": Entry(
		ReconnectRequired,
		"Several accounts are called {0}: {1}.",
		"Name the account by its ID.",
		"An account was asked for by name, and the user has connected several of that name.",
		"A developer",
		"Name the account by its ID, as `get_accounts()` gives it.",
	),
	"source_not_connected": Entry(
		ReconnectRequired,
		"The connection that this one is made from does not work: {0}",
		"Please connect that one first.",
		"The app exchanges the tokens of another connection, which is not there, or has to be made again.",
		"The person",
		"Connect the app named under *Exchange the Tokens Of*.",
	),
	"scope_missing": Entry(
		ReconnectRequired,
		"This was not granted: {0}.",
		"Please connect again, and allow it.",
		"The person granted less than this needs.",
		"The person",
		"Connect again, and allow what is asked for.",
	),
	"scope_missing/unnamed": Entry(
		ReconnectRequired,
		"More is needed for this than was granted.",
		"Please connect again, and allow what is asked for.",
	),
	"login_insufficient": Entry(
		ReconnectRequired,
		"The provider wants you to log in again, or in another way, before this can be done.",
		"Please connect again.",
		"The API wants a login that is newer or stronger (RFC 9470).",
		"The person",
		"Connect again by the link that came with it: the provider then asks for that login.",
	),
	"expired": Entry(
		ReconnectRequired,
		"The connection has expired and cannot be renewed.",
		"",
		"The access token has expired and the provider gave no refresh token.",
		"The person, then an administrator",
		"Connect again. If it recurs, make the provider give refresh tokens: scope `offline_access`, or its own Query Parameters.",
	),
	"grant_invalid": Entry(
		ReconnectRequired,
		"The provider no longer accepts this connection: {0}",
		"",
		"The provider no longer accepts the connection: revoked, unused for too long, or its token used twice.",
		"The person",
		"Connect again.",
	),
	"attempt_expired": Entry(
		ReconnectRequired,
		"This attempt took too long.",
		"",
		"Too much time passed between *Connect* and the answer.",
		"The person",
		"Connect again.",
	),
	"device_code_expired": Entry(
		ReconnectRequired,
		"The code has expired.",
		"Get a new code.",
		"*Connect with a Code*: nobody entered the code in time.",
		"The person",
		"Get a new code, and enter it at the provider within the time shown.",
	),
	"attempt_unknown": Entry(
		ReconnectRequired,
		"This attempt has expired, or was finished already.",
		"If you are connected, there is nothing to do. If not, please connect again.",
		"The attempt has expired, or was finished already (page reloaded, link used twice).",
		"The person",
		"Nothing if the connection is there; otherwise connect again.",
	),
	"attempt_elsewhere": Entry(
		ReconnectRequired,
		"This attempt was begun in another browser or by another user.",
		"Please connect again from the browser in which you are logged in.",
		"The attempt was begun in another browser, or by another user.",
		"The person",
		"Connect again in the browser in which you are logged in.",
	),
	"account_differs": Entry(
		ReconnectRequired,
		"You have signed in as {0}, and are connected as {1}.",
		"Nothing was changed. Disconnect first, or connect in a browser, where you can choose.",
		"With `bench connected-app connect`, somebody signed in at the provider with another account than the one that is connected.",
		"Who runs the command",
		"Disconnect first, or connect in a browser, where one can choose which account to use.",
	),
	"link_invalid": Entry(
		ReconnectRequired,
		"This link is not valid, or has expired.",
		"Please ask for a new one.",
		"A link by which code on this site asked somebody to connect is older than a week, or was changed on its way.",
		"The user",
		"Ask for a new one, or connect from *My Connections*.",
	),
	"link_elsewhere": Entry(
		ReconnectRequired,
		"This link is for another user.",
		"Log in as the user who was sent it, and open it again.",
		"A link by which code on this site asked somebody to connect was opened by another user.",
		"The user",
		"Log in as the user who was sent it.",
	),
	"not_logged_in": Entry(
		ReconnectRequired,
		"You are not logged in to this site.",
		"Please log in, and connect again.",
		"The answer came to a browser that is not logged in to this site.",
		"The person",
		"Log in, and connect again.",
	),
	"state_missing": Entry(
		ReconnectRequired,
		"The answer belongs to no attempt.",
		"",
		"The answer belongs to no attempt: it has no `state`.",
		"The person",
		"Connect again from this site; do not follow links that others sent.",
	),
	"state_mismatch": Entry(
		ReconnectRequired,
		"The answer does not belong to this attempt.",
		"",
		"The answer belongs to another attempt. It may be an attack.",
		"The person",
		"Connect again from this site; if it happens twice, tell an administrator.",
	),
	"parameter_repeated": Entry(
		ReconnectRequired,
		"The provider's answer is ambiguous.",
		"",
		"The answer names a parameter twice.",
		"The person",
		"Connect again; if it happens twice, tell an administrator.",
	),
	"code_missing": Entry(
		ReconnectRequired,
		"The provider sent no authorization code.",
		"",
		"The provider's answer has no authorization code.",
		"The person",
		"Connect again; if it happens twice, tell an administrator.",
	),
	"issuer_mismatch": Entry(
		ReconnectRequired,
		"The answer came from another provider than the one that was asked.",
		"Please start again; if this happens twice, tell an administrator.",
		"The answer came from another provider than the one asked (RFC 9207).",
		"The person, then an administrator",
		"Connect again; if it happens twice, compare Issuer with the provider's documentation.",
	),
	"issuer_mismatch/unnamed": Entry(
		ReconnectRequired,
		"The answer does not say which provider it came from, though the provider promises to say it.",
		"Please start again; if this happens twice, tell an administrator.",
	),
	"userinfo_subject_mismatch": Entry(
		ReconnectRequired,
		"The provider's statements about the account contradict each other.",
		"Please connect again; if this happens twice, tell an administrator.",
		"The ID token and the userinfo endpoint name different accounts.",
		"The person, then an administrator",
		"Connect again; if it happens twice, check Userinfo URI and Issuer.",
	),
	"token_rejected": Entry(
		ReconnectRequired,
		"The provider does not accept this connection's token.",
		"",
		"*Test Connection* found that the provider accepts neither the access token nor a new one.",
		"The person",
		"Connect again.",
	),
	"app_unknown": Entry(
		ReconnectRequired,
		"There is no such Connected App.",
		"",
		"There is no Connected App of this name.",
		"The person",
		"Start from the Connected App; check the redirect URI registered at the provider.",
	),
	"secret_unreadable": Entry(
		ReconnectRequired,
		"The stored connection cannot be read with this site's encryption key.",
		"",
		"What is stored cannot be read with the site's encryption key, for instance after a restore.",
		"An administrator, or the person",
		"Restore `encryption_key` in the site's configuration, or connect again.",
	),
	# ID token refused
	"id_token_missing": Entry(
		ReconnectRequired,
		"The provider sent no ID token.",
		"Please connect again; if this happens twice, tell an administrator.",
		"The scope `openid` was asked for, and there is no ID token.",
		"An administrator",
		"Check the client's registration, or empty Issuer to do without.",
	),
	"id_token_invalid": Entry(
		ReconnectRequired,
		"The provider's ID token is malformed.",
		"Please connect again; if this happens twice, tell an administrator.",
		"The ID token is malformed.",
		"An administrator",
		"Report it to the provider.",
	),
	"id_token_algorithm": Entry(
		ReconnectRequired,
		"The provider's ID token is signed in a way that is not allowed.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It is signed by a method that is not allowed (`none`, HS256, or one that the provider does not announce).",
		"An administrator",
		"Set RS256 for the client at the provider, or use *Get OpenID Configuration*.",
	),
	"id_token_signature": Entry(
		ReconnectRequired,
		"The signature of the provider's ID token is wrong.",
		"Please connect again; if this happens twice, tell an administrator.",
		"Its signature is wrong.",
		"An administrator",
		"Check JWKS URI.",
	),
	"id_token_key_unknown": Entry(
		ReconnectRequired,
		"The provider's ID token was signed with an unknown key.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It was signed with a key that is not in the key set. Passing, when the provider changes its keys several times a minute.",
		"The person",
		"Connect again after a minute; then check JWKS URI.",
	),
	"id_token_issuer": Entry(
		ReconnectRequired,
		"The provider's ID token was made by another issuer.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It was made by another issuer.",
		"An administrator",
		"Set Issuer exactly as the provider writes it.",
	),
	"id_token_subject": Entry(
		ReconnectRequired,
		"The provider's ID token names another account.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It names nobody, or after a refresh another account than the one connected.",
		"The person",
		"Connect again.",
	),
	"id_token_subject/nobody": Entry(
		ReconnectRequired,
		"The provider's ID token names nobody.",
		"Please connect again; if this happens twice, tell an administrator.",
	),
	"id_token_audience": Entry(
		ReconnectRequired,
		"The provider's ID token was made for another client.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It was made for another client, or for further ones.",
		"An administrator",
		"Check Client ID.",
	),
	"id_token_audience/others": Entry(
		ReconnectRequired,
		"The provider's ID token was made for further clients.",
		"Please connect again; if this happens twice, tell an administrator.",
	),
	"id_token_expired": Entry(
		ReconnectRequired,
		"The provider's ID token has expired.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It has expired.",
		"An administrator",
		"Check the server's clock.",
	),
	"id_token_issued_at": Entry(
		ReconnectRequired,
		"The provider's ID token is dated in the future, or not at all.",
		"Please connect again; if this happens twice, tell an administrator.",
		"Its time of issue is missing, or lies in the future.",
		"An administrator",
		"Check the server's clock.",
	),
	"id_token_issued_at/not_yet": Entry(
		ReconnectRequired,
		"The provider's ID token is not valid yet.",
		"Please connect again; if this happens twice, tell an administrator.",
	),
	"id_token_nonce": Entry(
		ReconnectRequired,
		"The provider's ID token belongs to another attempt.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It belongs to another attempt.",
		"The person",
		"Connect again.",
	),
	"id_token_login_too_old": Entry(
		ReconnectRequired,
		"You have logged in at the provider too long ago for this.",
		"Please connect again, and log in at the provider again.",
		"A newer login at the provider was asked for than the one it tells of (`auth_time`).",
		"The person",
		"Connect again, and log in at the provider again.",
	),
	"id_token_at_hash": Entry(
		ReconnectRequired,
		"The provider's ID token belongs to another access token.",
		"Please connect again; if this happens twice, tell an administrator.",
		"It belongs to another access token.",
		"The person",
		"Connect again; if it happens twice, tell an administrator.",
	),
	# Temporary failure
	"network": Entry(
		TemporaryFailure,
		"{0} could not be reached.",
		"",
		"The provider could not be reached.",
		"Nobody",
		"Try again later; check the server's network if it lasts.",
	),
	"network/broken_off": Entry(
		TemporaryFailure,
		"The provider's answer broke off.",
	),
	"tls_interrupted": Entry(
		TemporaryFailure,
		"{0} ended the connection before it was secured.",
		"",
		"The server ended the connection before it was secured.",
		"Nobody",
		"Try again later.",
	),
	"proxy_unreachable": Entry(
		TemporaryFailure,
		"The proxy {0} could not be reached.",
		"Check connected_app_proxy in the site's configuration.",
		"The egress proxy (`connected_app_proxy`) could not be reached.",
		"An administrator of the server, if it lasts",
		"Check the proxy and the setting.",
	),
	"timeout": Entry(
		TemporaryFailure,
		"{0} did not answer in time.",
		"",
		"The provider did not answer in time.",
		"Nobody",
		"Try again later.",
	),
	"mail_server_unreachable": Entry(
		TemporaryFailure,
		"The mail server {0} could not be reached.",
		"",
		"*Set Up E-mail* could not reach the provider's server for incoming mail. Nothing was stored.",
		"An administrator",
		"Try again later; if it lasts, see whether this server may reach that one (firewall, port).",
	),
	"server_error": Entry(
		TemporaryFailure,
		"The provider answered with HTTP {0}.",
		"",
		"The provider says that it is not available (HTTP 5xx).",
		"Nobody",
		"Try again later.",
	),
	"server_error/said": Entry(
		TemporaryFailure,
		"The provider is not available at the moment: {0}",
	),
	"rate_limited": Entry(
		TemporaryFailure,
		"The provider answered with HTTP {0}.",
		"",
		"The provider says: too many requests. `retry_after` says how long to wait.",
		"Nobody",
		"Try again after that.",
	),
	"rate_limited/said": Entry(
		TemporaryFailure,
		"The provider is not available at the moment: {0}",
	),
	"cooling_down": Entry(
		TemporaryFailure,
		"{0}",
		"",
		"A refresh failed a moment ago; the provider is left alone until `retry_after`.",
		"Nobody",
		"Try again after that.",
	),
	"busy": Entry(
		TemporaryFailure,
		"The connection is being renewed by someone else.",
		"",
		"Another process is renewing the connection.",
		"Nobody",
		"Try again.",
	),
	"busy/address": Entry(
		TemporaryFailure,
		"Somebody else is just setting up a connection to this server.",
	),
	"store_unavailable": Entry(
		TemporaryFailure,
		"The site's database cannot be reached.",
		"",
		"The site's database, or the connection to it, was lost. A token that a provider has just given is tried to be stored for a quarter of a minute before this is raised.",
		"An administrator, if it lasts",
		"Check the database server.",
	),
	"provider_error": Entry(
		TemporaryFailure,
		"The provider answered with an error: {0}",
		"",
		"The provider answered with an error that is not known here; `provider_error` holds it.",
		"Nobody, or an administrator",
		"Try again; look the error up in the provider's documentation.",
	),
	"response_invalid": Entry(
		TemporaryFailure,
		"The provider's answer holds no access token.",
		"",
		"The provider's answer could not be read, or holds no usable token.",
		"Nobody, or an administrator",
		"Try again; if it lasts, check Token URI.",
	),
	"response_invalid/unreadable": Entry(
		TemporaryFailure,
		"The provider's answer could not be read.",
	),
	"response_too_large": Entry(
		TemporaryFailure,
		"The answer of {0} is too large.",
		"",
		"The answer is longer than any honest one.",
		"An administrator",
		"Check the endpoint's address.",
	),
	"redirected": Entry(
		TemporaryFailure,
		"The token endpoint redirects, which is not followed.",
		"Check the Token URI.",
		"The token endpoint redirects, which is not followed.",
		"An administrator",
		"Enter the address that it redirects to as Token URI, if you trust it.",
	),
	"keys_unavailable": Entry(
		TemporaryFailure,
		"The provider's signing keys could not be read.",
		"",
		"The provider's signing keys could not be read.",
		"Nobody, or an administrator",
		"Try again; if it lasts, check JWKS URI.",
	),
	"attempt_store_unavailable": Entry(
		TemporaryFailure,
		"The site's Redis cannot be reached.",
		"",
		"The site's Redis cannot be reached.",
		"An administrator",
		"Start Redis (`redis_cache`).",
	),
	"internal_error": Entry(
		TemporaryFailure,
		"Something went wrong on this site.",
		"",
		"Something went wrong on this site; the Error Log has an entry.",
		"An administrator",
		"Look at the Error Log.",
	),
	# Configuration error
	"app_disabled": Entry(
		ConfigurationError,
		"This Connected App is disabled.",
		"",
		"The Connected App is disabled.",
		"An administrator",
		"Tick *Enabled*.",
	),
	"not_allowed": Entry(
		ConfigurationError,
		"You are not allowed to connect to this app.",
		"",
		"The user has none of the roles that may connect.",
		"An administrator",
		"Add a role to *Allowed Roles*, or tick *Everyone May Connect*.",
	),
	"success_uri_refused": Entry(
		ConfigurationError,
		"The address to return to is not on this site.",
		"Pass a path such as /me.",
		"The address to return to is not on this site.",
		"A developer",
		"Pass a path such as `/me`.",
	),
	"scope_not_asked": Entry(
		ConfigurationError,
		"This Connected App does not ask for the scope {0}.",
		"Add it to Scopes, or to Optional Scopes; people then have to connect again.",
		"Code or an API needs a scope that the Connected App does not ask for.",
		"An administrator",
		"Add it to Scopes, or to Optional Scopes; people then connect again.",
	),
	"not_committed": Entry(
		ConfigurationError,
		"The connection was changed by a transaction that is still open.",
		"Commit it, and then use the connection.",
		"The Connected App or the user was made, or the Token Cache was saved or deleted, in a transaction that is still open: beside it, nothing can be stored there.",
		"A developer",
		"Commit first, and use the connection afterwards.",
	),
	"not_committed/app": Entry(
		ConfigurationError,
		"The Connected App, or the user, is not stored yet.",
		"Commit the transaction that makes it, and then use the connection.",
	),
	"device_not_offered": Entry(
		ConfigurationError,
		"This Connected App does not offer to connect with a code.",
		"Tick Offer Connect with a Code, if the provider has a Device Authorization URI.",
		"*Connect with a Code* was asked for where the Connected App does not offer it, or its Security Profile does not allow it.",
		"An administrator",
		"Tick *Offer Connect with a Code*; under FAPI 2.0 it cannot be had.",
	),
	"endpoint_missing": Entry(
		ConfigurationError,
		"{0} is not set.",
		"Fill in {0}, or use Get OpenID Configuration in the form's menu (⋯).",
		"An endpoint, or Client ID, is not set.",
		"An administrator",
		"Fill it in, or use *Get OpenID Configuration*.",
	),
	"openid_configuration_missing": Entry(
		ConfigurationError,
		"OpenID Configuration is not set.",
		"Enter its URL and save.",
		"OpenID Configuration is not set.",
		"An administrator",
		"Enter its URL and save.",
	),
	"client_id_missing": Entry(
		ConfigurationError,
		"Client ID is not set.",
		"Fill in Client ID.",
		"Client ID is not set.",
		"An administrator",
		"Fill it in.",
	),
	"client_secret_missing": Entry(
		ConfigurationError,
		"Client Secret is not set.",
		"Fill in Client Secret, or set Client Authentication to None for a public client.",
		"Client Secret is not set.",
		"An administrator",
		"Fill it in, or set *Client Authentication* to None for a public client.",
	),
	"client_secret_is_key": Entry(
		ConfigurationError,
		"Client Secret is a key, which cannot sign as a secret does.",
		"Bring a private key under Keys, and set Client Authentication to a signed assertion with it.",
		"What stands in Client Secret looks like a key in PEM or of SSH, and *Client Authentication* signs with a secret.",
		"An administrator",
		"Bring a private key under *Keys*, and set *Client Authentication* to `private_key_jwt`.",
	),
	"client_authentication_unknown": Entry(
		ConfigurationError,
		"The client authentication {0} is not supported.",
		"Set Client Authentication to Automatic, or to one that the provider supports.",
		"The way in which the client should prove itself is not supported.",
		"An administrator",
		"Set *Client Authentication* to Automatic, or to one that the provider supports.",
	),
	"client_secret_unreadable": Entry(
		ConfigurationError,
		"Client Secret cannot be read with this site's encryption key.",
		"Enter it again, or restore encryption_key in the site's configuration.",
		"Client Secret cannot be read with the site's encryption key, for instance after a restore.",
		"An administrator",
		"Enter it again, or restore `encryption_key` in the site's configuration.",
	),
	"signing_key_missing": Entry(
		ConfigurationError,
		"This Connected App has no signing key.",
		"Make one under Keys, register it at the provider, and click Use New Key.",
		"*Client Authentication* wants a signing key, and there is none in use.",
		"An administrator",
		"Make one under *Keys*, register it at the provider, and click *Use New Key*.",
	),
	"signing_key_unreadable": Entry(
		ConfigurationError,
		"The signing key cannot be read with this site's encryption key.",
		"Restore encryption_key in the site's configuration, or make a new key and register it at the provider.",
		"The signing key cannot be read with the site's encryption key, for instance after a restore on another site.",
		"An administrator",
		"Restore `encryption_key` in the site's configuration, or make a new key and register it at the provider.",
	),
	"key_unreadable": Entry(
		ConfigurationError,
		"This is not a private key that can be used.",
		"Bring one private key in PEM or PKCS#12, with its certificate if there is one.",
		"What was brought is no private key in PEM or PKCS#12, or is a key of another kind.",
		"An administrator",
		"Bring one private key. `openssl pkey -in FILE` converts older kinds of files.",
	),
	"key_passphrase": Entry(
		ConfigurationError,
		"The private key cannot be opened with this passphrase.",
		"Enter the passphrase with which it was encrypted.",
		"A private key that was brought is encrypted, and the passphrase is missing or another one.",
		"An administrator",
		"Enter the passphrase with which it was encrypted. It is not stored.",
	),
	"key_passphrase/file": Entry(
		ConfigurationError,
		"The file cannot be opened: the passphrase is wrong, or it is no PKCS#12 file with a private key.",
		"Enter the passphrase with which it was encrypted.",
	),
	"certificate_mismatch": Entry(
		ConfigurationError,
		"The certificate does not belong to the private key.",
		"Bring the private key for which the certificate was issued.",
		"None of the certificates beside a private key that was brought belongs to it.",
		"An administrator",
		"Bring the private key for which the certificate was issued, or the key alone.",
	),
	"certificate_missing": Entry(
		ConfigurationError,
		"The key in use has no certificate to present.",
		"Make a new key, or bring one with its certificate, register it at the provider, and click Use New Key.",
		"*Client Authentication*, or *Bind Tokens to the Certificate*, wants a client certificate, and the key in use has none.",
		"An administrator",
		"Make a new key, or bring one with its certificate, register it at the provider, and click *Use New Key*.",
	),
	"key_file_unknown": Entry(
		ConfigurationError,
		"This is not the key file of a service account: {0}.",
		"Take the file that the provider gives when a key is made for the service account.",
		"What was pasted or uploaded is a file of another kind, such as that of an OAuth client.",
		"An administrator",
		"Take the file that the provider gives when a key is made for the service account: JSON at Google and Box, else a private key in PEM.",
	),
	"key_file_unknown/lacks": Entry(
		ConfigurationError,
		"This key file has no {0}.",
		"Take the file that the provider gives when a key is made for the service account.",
	),
	"service_key_missing": Entry(
		ConfigurationError,
		"The service account has no key.",
		"Take its key file under How Access Is Granted.",
		"The app uses a service account, and has no key of it.",
		"An administrator",
		"Take its key file under *How Access Is Granted*.",
	),
	"account_unknown": Entry(
		ConfigurationError,
		"The provider did not say which account was connected.",
		"To connect several accounts, an administrator has to ask for the scope openid, or set the Userinfo URI.",
		"A user may have several accounts, and nothing says which one this is: there is no ID token and no userinfo.",
		"An administrator",
		"Ask for the scope `openid`, or set the *Userinfo URI*.",
	),
	"account_unknown/default": Entry(
		ConfigurationError,
		"It is not known which account is the default one.",
		"Please reconnect it first.",
	),
	"one_account_only": Entry(
		ConfigurationError,
		"Each user may connect one account to this app.",
		"An administrator can tick Several Accounts.",
		"Another account was to be connected to an app that allows one.",
		"An administrator",
		"Tick *Several Accounts* on the Connected App.",
	),
	"not_for_users": Entry(
		ConfigurationError,
		"This Connected App acts for itself, and not for single users.",
		"Use the service principal, or tick Act for Each User.",
		"A user's connection was asked for, and the service account does not act for users.",
		"An administrator or developer",
		"Use `get_backend_app_token()`, or tick *Act for Each User*.",
	),
	"not_for_users/name": Entry(
		ConfigurationError,
		"The service account acts for a user at the address that is the user's name here; {0} is no address.",
		"Use the connection of a user whose name is an e-mail address.",
	),
	"key_algorithm": Entry(
		ConfigurationError,
		"The key does not fit the algorithm. What fits: {0}.",
		"Make a key for one of these, or choose another algorithm.",
		"The signing key is of another kind than the algorithm that was chosen, or than those that the provider accepts.",
		"An administrator",
		"Make a key for one of those that the message names, or choose another algorithm.",
	),
	"certificate_expired": Entry(
		ConfigurationError,
		"The certificate is not valid now; it ends on {0}.",
		"Make or bring a new key, register it at the provider, and click Use New Key.",
		"The certificate of a key has expired, or is not valid yet.",
		"An administrator",
		"Make or bring a new key with a certificate, register it at the provider, and click *Use New Key*. If the certificate should be valid, check the server's clock.",
	),
	"profile_unmet": Entry(
		ConfigurationError,
		"The security profile FAPI 2.0 needs what this provider does not offer: {0}.",
		"Use Get OpenID Configuration in the form's menu (⋯), or set Security Profile to Standard.",
		"*Security Profile* is FAPI 2.0, and the provider does not offer all that it needs.",
		"An administrator",
		"Use *Get OpenID Configuration*, ask the provider, or set *Security Profile* to Standard.",
	),
	"dpop_needs_session": Entry(
		ConfigurationError,
		"This token is bound to a key: a header alone does not show it.",
		"Use get_oauth2_session, which proves the key with each request.",
		"Code, or a library that it uses, asks for a token that is bound to a key (DPoP) without being able to prove the key.",
		"A developer",
		"Use `get_oauth2_session`, or httpx with the adapter for it: both prove the key with each request.",
	),
	"certificate_needs_session": Entry(
		ConfigurationError,
		"This token is bound to a certificate: without it, the API does not take it.",
		"Use get_oauth2_session, which presents the certificate with each connection.",
		"Code, or a library that it uses, asks for a token that is bound to a certificate (RFC 8705) without being able to present it.",
		"A developer",
		"Use `get_oauth2_session`, which presents the certificate.",
	),
	"dpop_not_bound": Entry(
		ConfigurationError,
		"The provider has not bound its tokens to this site's key.",
		"Register this client for DPoP at the provider, or turn off Bind Tokens to a Key.",
		"*Bind Tokens to a Key* is on, and the provider gave tokens that anybody can use (RFC 9449 5).",
		"An administrator",
		"Register this client for DPoP at the provider, or turn *Bind Tokens to a Key* off.",
	),
	"resource_invalid": Entry(
		ConfigurationError,
		"{0} is no address of a resource.",
		"Enter an absolute address without # in each line of Resources, as the provider's documentation has it.",
		"A line of Resources is not an absolute address, or has a fragment (RFC 8707 2).",
		"An administrator",
		"Correct *Resources*.",
	),
	"parameter_reserved": Entry(
		ConfigurationError,
		"Query Parameters may not contain {0}.",
		"Remove the row: this parameter is set by the flow itself.",
		"Query Parameters has a row that the flow itself sets.",
		"An administrator",
		"Remove the row.",
	),
	"invalid_client": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Check Client ID, Client Secret and Client Authentication.",
		"The provider does not accept the client's credentials.",
		"An administrator",
		"Check Client ID, Client Secret and *Client Authentication*.",
	),
	"invalid_client/http": Entry(
		ConfigurationError,
		"The provider did not accept the client's credentials: {0}",
		"Check Client ID, Client Secret and Client Authentication.",
	),
	"unauthorized_client": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow this client the authorization code grant at the provider.",
		"The client may not use the authorization code flow or, for the service principal, the client credentials grant.",
		"An administrator",
		"Allow it at the provider.",
	),
	"unauthorized_client/refresh_token": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow this client the refresh token grant at the provider.",
	),
	"unauthorized_client/client_credentials": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow this client the client credentials grant at the provider.",
	),
	"unauthorized_client/device_code": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow this client the device grant at the provider.",
	),
	"unauthorized_client/service_account": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow the service account these scopes at the provider, on behalf of users if it acts for them.",
	),
	"unauthorized_client/token_exchange": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow this client the token exchange grant at the provider.",
	),
	"exchange_refused": Entry(
		ConfigurationError,
		"The provider refused to exchange the token: {0}",
		"Check which tokens the provider exchanges for this client, and what Token Parameters it wants.",
		"The provider does not exchange this token (RFC 8693): it is of another provider than it trusts, or not for this client.",
		"An administrator",
		"Check which tokens the provider exchanges for this client, and *Token Parameters* (`audience` above all).",
	),
	"service_account_refused": Entry(
		ConfigurationError,
		"The provider refused the service account: {0}",
		"Check its key, the user that it acts for, and what it is allowed at the provider; and this server's clock.",
		"The provider does not accept the assertion: the key is not, or no longer, registered there; the account may not act for this user; or this server's clock is wrong.",
		"An administrator",
		"Check the key file, what the service account is allowed at the provider, and the server's clock.",
	),
	"unsupported_grant_type": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Check the Token URI and what the provider supports.",
		"The token endpoint does not know this kind of request.",
		"An administrator",
		"Check Token URI and what the provider supports.",
	),
	"unsupported_response_type": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow this client the authorization code flow at the provider.",
		"The provider does not offer this client the authorization code flow.",
		"An administrator",
		"Allow it at the provider.",
	),
	"invalid_scope": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Check Scopes: the provider does not know one, or does not allow it to this client.",
		"The provider does not know a scope, or does not allow it.",
		"An administrator",
		"Check Scopes.",
	),
	"invalid_request": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Check the endpoints and settings of the Connected App.",
		"The provider finds the request wrong.",
		"An administrator",
		"Check the endpoints and settings.",
	),
	"invalid_target": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Check Resources and the Query Parameters.",
		"The provider does not know the resource or audience asked for.",
		"An administrator",
		"Check Query Parameters.",
	),
	"access_denied": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Allow this client the access at the provider.",
		"The provider does not give this client tokens.",
		"An administrator",
		"Allow this client the access at the provider.",
	),
	"invalid_resource": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Check Resources and the Query Parameters.",
		"The provider does not know the resource asked for.",
		"An administrator",
		"Check Query Parameters.",
	),
	"prompt_none": Entry(
		ConfigurationError,
		"The provider was asked to show nothing to the user, who has to log in or consent there.",
		"Remove prompt=none from Query Parameters.",
		"Query Parameters ask the provider to show nothing, and the user has to log in or consent there.",
		"An administrator",
		"Remove `prompt=none` from *Query Parameters*.",
	),
	"redirect_uri_mismatch": Entry(
		ConfigurationError,
		"The provider refused the request: {0}",
		"Register this Connected App's Redirect URI at the provider, exactly.",
		"The redirect URI is not registered at the provider.",
		"An administrator",
		"Register the Connected App's Redirect URI there, exactly.",
	),
	"discovery_not_found": Entry(
		ConfigurationError,
		"There is no OpenID Configuration at this address (HTTP {0}).",
		"Check the OpenID Configuration URL in the provider's documentation.",
		"There is no OpenID Configuration at this address.",
		"An administrator",
		"Check the URL in the provider's documentation.",
	),
	"discovery_not_found/server": Entry(
		ConfigurationError,
		"The authorization server {0}, which the API names, has no metadata.",
		"Ask those who run it, or create a Connected App and fill in its endpoints.",
	),
	"discovery_invalid": Entry(
		ConfigurationError,
		"The answer is not an OpenID Configuration document.",
		"Check the OpenID Configuration URL: opened in a browser it shows JSON.",
		"The answer is not an OpenID Configuration document.",
		"An administrator",
		"Check the URL: opened in a browser it shows JSON.",
	),
	"discovery_invalid/address": Entry(
		ConfigurationError,
		"{0} in the provider's document is not a web address.",
	),
	"discovery_invalid/server": Entry(
		ConfigurationError,
		"The metadata of the authorization server {0}, which the API names, cannot be read.",
		"Ask those who run it, or create a Connected App and fill in its endpoints.",
	),
	"discovery_issuer_mismatch": Entry(
		ConfigurationError,
		"The document names another issuer than the address it was fetched from.",
		"Use the address that belongs to the issuer; for Microsoft, the one with your own tenant's ID.",
		"The document names another issuer than its address.",
		"An administrator",
		"Use the address that belongs to the issuer; for Microsoft, the one with your tenant's ID.",
	),
	"discovery_issuer_mismatch/server": Entry(
		ConfigurationError,
		"The metadata of the authorization server {0}, which the API names, are those of another one.",
		"Ask those who run it: it may be an attack.",
	),
	"uri_invalid": Entry(
		ConfigurationError,
		"An endpoint of the provider is not a valid web address.",
		"",
		"An endpoint is not a web address.",
		"An administrator",
		"Check the endpoints.",
	),
	"uri_invalid/address": Entry(
		ConfigurationError,
		"This is not a web address.",
		"Enter the address of an API, such as https://api.example.com/.",
	),
	"uri_invalid/api": Entry(
		ConfigurationError,
		"The address of the API is not a valid web address, or the API redirects to one that is not.",
		"Ask the developer of this integration to correct it.",
	),
	"uri_insecure": Entry(
		ConfigurationError,
		"{0} must be reached over https.",
		"Enter the endpoint's https address.",
		"An endpoint, or an API that a token would be sent to, is not https.",
		"An administrator, or a developer",
		"Use the https address.",
	),
	"uri_insecure/api": Entry(
		ConfigurationError,
		"A token is sent over https only (RFC 6750 5.3).",
		"Call the https address.",
	),
	"address_refused": Entry(
		ConfigurationError,
		"{0} is an internal address, which this site may not call.",
		"Enter the provider's public address, or list the host in the site's configuration.",
		"The host is an internal address, which the site may not call.",
		"An administrator",
		"Enter the public address, or list the host in the site's configuration.",
	),
	"certificate_invalid": Entry(
		ConfigurationError,
		"The certificate of {0} could not be verified.",
		"",
		"The provider's certificate could not be verified.",
		"An administrator",
		"Check the address; for an authority of your own, set `REQUESTS_CA_BUNDLE` ([guide](admin-guide.md#site-configuration)).",
	),
	"certificate_invalid/why": Entry(
		ConfigurationError,
		"The certificate of {0} could not be verified.",
		"Ask the provider to correct its certificate ({1}).",
	),
	"client_certificate_required": Entry(
		ConfigurationError,
		"{0} asks for a client certificate, and was shown none.",
		"Set Client Authentication to tls_client_auth or self_signed_tls_client_auth, or use an address that takes a client secret.",
		"The server asks for a client certificate, and the Connected App presents none.",
		"An administrator",
		"Set *Client Authentication* to one by certificate, or use an address of the provider that takes a client secret.",
	),
	"client_certificate_refused": Entry(
		ConfigurationError,
		"{0} does not accept the certificate of this site.",
		"Register the certificate at the provider, or bring one that the provider's authority has issued ({1}).",
		"The server refuses the client certificate: unknown to it, expired, revoked, or of an authority that it does not trust.",
		"An administrator",
		"Register the certificate under *Keys* at the provider, or bring one of an authority that it trusts.",
	),
	"tls_unsupported": Entry(
		ConfigurationError,
		"{0} and this site could not agree on how to secure the connection.",
		"Check the address: its port may not be one for https ({1}).",
		"The server and this site could not agree on how to secure the connection, or the port is not an https port.",
		"An administrator",
		"Check host and port of the address.",
	),
	"ca_bundle_unusable": Entry(
		ConfigurationError,
		"There are no trusted certificate authorities in {0}.",
		"Correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE in this server's environment, or the file.",
		"The file of trusted certificate authorities (`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`) is missing or holds no certificate.",
		"An administrator of the server",
		"Correct the variable or the file.",
	),
	"proxy_refused": Entry(
		ConfigurationError,
		"The proxy does not let this site reach {0}.",
		"Correct connected_app_proxy, or what the proxy allows (HTTP {1}).",
		"The egress proxy does not let this site reach the provider, or wants other credentials.",
		"An administrator of the server",
		"Allow the host at the proxy, or correct `connected_app_proxy`.",
	),
	"template_invalid": Entry(
		ConfigurationError,
		"The provider template {0} is not valid: {1}.",
		"Correct the file, or ask the authors of the app that it belongs to.",
		"A provider template has something in it that is not known or not possible.",
		"The authors of the app that brings it",
		"Correct the file.",
	),
	"provider_input_missing": Entry(
		ConfigurationError,
		"{0} is missing.",
		"Enter it, for example: {1}",
		"The provider needs an input, such as a tenant or a shop.",
		"An administrator",
		"Enter it in the Connected App.",
	),
	"provider_input_invalid": Entry(
		ConfigurationError,
		"{0} does not have the form that the provider uses.",
		"Enter it, for example: {1}",
		"An input does not have the form that the provider uses, or would lead to another host.",
		"An administrator",
		"Enter it as in the example.",
	),
	"template_unknown": Entry(
		ConfigurationError,
		"There is no provider template called {0}.",
		"Choose one of the list, or leave Provider empty and fill in the fields.",
		"There is no provider template of that name.",
		"An administrator",
		"Choose one of the list, or leave *Provider* empty.",
	),
	"template_unsupported": Entry(
		ConfigurationError,
		"{0} cannot be connected.",
		"{1}",
		"The provider cannot be connected; the message says why.",
		"Nobody",
		"Use another way that the provider offers.",
	),
	"mail_unsupported": Entry(
		ConfigurationError,
		"The mail servers of {0} are not known.",
		"Choose a Provider that has mail, or fill in an Email Account by hand.",
		"*Set Up E-mail* was asked for a provider whose template names no mail servers.",
		"An administrator",
		"Choose a *Provider* that has mail, such as Gmail, or fill in an Email Account by hand.",
	),
	"mail_address_unknown": Entry(
		ConfigurationError,
		"The e-mail address of this connection is not known.",
		"Enter the address.",
		"*Set Up E-mail* was asked for an account of which the provider has not said the address, or what was entered is none.",
		"An administrator",
		"Enter the address.",
	),
	"host_not_allowed": Entry(
		ConfigurationError,
		"The provider named the host {0}, which its template does not allow.",
		"Nothing was sent there. Check the provider's template.",
		"The provider named a host that its template does not allow. Nothing was sent there.",
		"An administrator",
		"Check the provider's template.",
	),
	"resource_redirects": Entry(
		ConfigurationError,
		"{0} leads to another address: {1}",
		"Enter that address, if you trust it.",
		"The address that was entered, or that of its metadata, redirects to another host, or without end.",
		"An administrator",
		"Enter the address that it leads to, if you trust it.",
	),
	"resource_unknown": Entry(
		ConfigurationError,
		"{0} does not say where tokens for it come from (HTTP {1}).",
		"Compare the address with the documentation of the API, or create a Connected App and fill in its endpoints.",
		"*Connect by Address* was asked for an address that names no authorization server, and is none itself.",
		"An administrator",
		"Compare the address with the documentation, or create a Connected App and fill in its endpoints.",
	),
	"resource_unknown/open": Entry(
		ConfigurationError,
		"{0} answers without asking for a token, and does not say where one would come from.",
		"Compare the address with the documentation of the API: it may need no connection, or another address.",
	),
	"resource_metadata_invalid": Entry(
		ConfigurationError,
		"{0} does not describe where tokens for it come from.",
		"Ask those who run it: its metadata (RFC 9728) are missing, cannot be read, or name no authorization server.",
		"The metadata document of an API (RFC 9728) is missing where the API says it is, cannot be read, or names no authorization server.",
		"Those who run the API",
		"Correct the document.",
	),
	"resource_mismatch": Entry(
		ConfigurationError,
		"{0} describes another API than itself: {1}",
		"Enter that address, if it is the one that you mean; otherwise ask those who run it.",
		"The metadata document of an API is about another one (RFC 9728 3.3). It may be an attack.",
		"An administrator",
		"Enter the address that it names, if that is the one you mean.",
	),
	"resource_unsupported": Entry(
		ConfigurationError,
		"{0} does not take tokens in a header.",
		"Nothing can be done on this site: tokens are sent in a header only (RFC 6750 2.1).",
		"*Connect by Address* was asked for an API that takes tokens in the query or the body only, or wants a client certificate with them.",
		"An administrator",
		"With a client certificate: set the Connected App up by hand. Otherwise use another way that the API offers.",
	),
	"resource_unsupported/certificates": Entry(
		ConfigurationError,
		"{0} wants a client certificate with each token (RFC 8705).",
		"Create a Connected App, bring a certificate under Keys, and turn on Bind Tokens to the Certificate.",
	),
	"resource_unsupported/scopes": Entry(
		ConfigurationError,
		"{0} asks for {1} scopes, which is more than one request can hold.",
		"Create a Connected App, fill in its endpoints, and enter the scopes that you need.",
	),
	"resource_origin": Entry(
		ConfigurationError,
		"These tokens are for {0}, and are not sent to {1}.",
		"Call the API that they are for, or list the other one under Further Origins.",
		"Code sends a request with the token of a connection to another origin than those of its *Resources*.",
		"A developer",
		"Call the API that the token is for, or list the origin under *Further Origins*.",
	),
	"authorization_server_unusable": Entry(
		ConfigurationError,
		"The authorization server {0} does not offer what is needed: {1}.",
		"Ask those who run it.",
		"An authorization server does not offer the authorization code flow with PKCE, or does not say where.",
		"Those who run it",
		"Offer it, and say so in its metadata.",
	),
	"authorization_server_unusable/long": Entry(
		ConfigurationError,
		"An address of the authorization server {0} is longer than this site can store: {1}.",
		"Ask those who run it.",
	),
	"pkce_not_announced": Entry(
		ConfigurationError,
		"The authorization server {0} does not say that it supports PKCE.",
		"Ask those who run it to list S256 under code_challenge_methods_supported in its metadata. If you know that it supports PKCE, create a Connected App and use Get OpenID Configuration instead.",
		"The metadata of an authorization server that *Connect by Address* has found lack `code_challenge_methods_supported`, and so do not say that it supports PKCE (RFC 8414 2; required by the Model Context Protocol).",
		"Those who run it, or an administrator",
		"List S256 there. Where it is known that the server supports PKCE, create a Connected App, and use *Get OpenID Configuration*.",
	),
	"registration_refused": Entry(
		ConfigurationError,
		"{0} did not register this site: {1}",
		"Register it there by hand, create a Connected App, and enter Client ID and Client Secret.",
		"An authorization server did not register this site (RFC 7591).",
		"An administrator",
		"Register it there by hand, and enter Client ID and Client Secret.",
	),
	"registration_refused/redirect_uri": Entry(
		ConfigurationError,
		"{0} does not accept the Redirect URI of this site: {1}",
		"Give the site an https address (host_name), or ask those who run the server.",
	),
	"registration_refused/closed": Entry(
		ConfigurationError,
		"{0} registers nobody without permission: {1}",
		"Register this site there by hand, create a Connected App, and enter Client ID and Client Secret.",
	),
	"registration_invalid": Entry(
		ConfigurationError,
		"{0} did not respond like a server that registers clients.",
		"Register this site there by hand, create a Connected App, and enter Client ID and Client Secret.",
		"The answer to a registration could not be read, or has no Client ID.",
		"An administrator",
		"Register this site there by hand, and enter Client ID and Client Secret.",
	),
	"registration_unusable": Entry(
		ConfigurationError,
		"The server registered this site without giving it a client secret.",
		"Register this site there by hand, create a Connected App, and enter Client ID and Client Secret.",
		"What a server has registered is of no use: it has fewer grants, another redirect URI, a secret that expires or is missing, or a way to authenticate that is not known.",
		"An administrator",
		"Register this site there by hand, and enter Client ID and Client Secret.",
	),
	"registration_unusable/grants": Entry(
		ConfigurationError,
		"The server did not register all that this site needs; {0} is missing.",
		"Register this site there by hand, create a Connected App, and enter Client ID and Client Secret.",
	),
	"registration_unusable/redirect_uri": Entry(
		ConfigurationError,
		"The server registered another Redirect URI than {0}",
		"Register this site there by hand, create a Connected App, and enter Client ID and Client Secret.",
	),
	"registration_unusable/expires": Entry(
		ConfigurationError,
		"The server gave a client secret that expires.",
		"Register this site there by hand, create a Connected App, and enter Client ID and Client Secret.",
	),
	"registration_unusable/authentication": Entry(
		ConfigurationError,
		"The server wants this site to authenticate by {0}, which it cannot do as it is set up.",
		"Register this site there by hand, create a Connected App, and enter Client ID and Client Secret.",
	),
	"client_document_wrong": Entry(
		ConfigurationError,
		"The document by which this site introduces itself is not what it should be at {0}",
		"Set host_name to the address at which the site is reached from the Internet, or register it at the server by hand.",
		"The client ID metadata document of this site cannot be read at its own address, or names another client: `host_name` is wrong, or something in front of the site changes it.",
		"An administrator of the server",
		"Correct `host_name`, or what stands in front of the site.",
	),
}


def error(
	key: str, *values: object, retry_after: float | None = None, provider_error: str = ""
) -> OAuthError:
	"""The error of this key, to be raised.

	:param values: for the placeholders; no secrets
	:param retry_after, provider_error: see `OAuthError`
	"""
	entry = CATALOGUE[key]
	return entry.branch(
		key.partition("/")[0],
		Sentence(entry.sentence, *values),
		Sentence(entry.action, *values) if entry.action else "",
		retry_after=retry_after,
		provider_error=provider_error,
	)


def to_json(code: str, message: str) -> str:
	"""The message of an error as it is stored: which sentence of the code it is, and its values."""
	template, values = _parts(message)
	key = next((key for key in _keys(code) if CATALOGUE[key].sentence == template), None)
	stored: dict[str, Any] = {"text": str(message)}
	if key:
		stored = {"sentence": key, "values": [_stored(value) for value in values]}
	return json.dumps(stored, ensure_ascii=False)


def from_json(text: str | None) -> str:
	"""The inverse of `to_json`: a Sentence, which can be said in any language."""
	try:
		stored = json.loads(text or "{}")
		if "sentence" in stored:
			return Sentence(
				CATALOGUE[stored["sentence"]].sentence, *(_value(each) for each in stored["values"])
			)
		return str(stored.get("text", ""))
	except (ValueError, LookupError, TypeError, AttributeError):
		# Of another version.
		return ""


def recognized(code: str, text: str) -> str:
	"""A sentence that was stored as English text, as `to_json` gives it."""
	for key in _keys(code):
		literals = re.split(r"\{\d\}", CATALOGUE[key].sentence)
		if len(literals) > 1 and not any(literals):
			continue
		if found := re.fullmatch("(.*)".join(re.escape(each) for each in literals), text, re.DOTALL):
			return to_json(code, Sentence(CATALOGUE[key].sentence, *found.groups()))
	return to_json(code, text)


def _keys(code: str) -> Iterable[str]:
	return (key for key in CATALOGUE if key.partition("/")[0] == code)


def _parts(message: str) -> tuple[str, tuple[object, ...]]:
	return (message.template, message.values) if isinstance(message, Sentence) else (message, ())


def _stored(value: object) -> Any:
	if isinstance(value, Sentence):
		return {"template": value.template, "values": [_stored(each) for each in value.values]}
	return value if isinstance(value, int) else str(value)


def _value(stored: Any) -> object:
	if isinstance(stored, dict):
		return Sentence(stored["template"], *(_value(each) for each in stored["values"]))
	return stored
