"""Whether an answer to a refresh says that the refresh token is dead.

RFC 6749 5.2 has one word for it, `invalid_grant`. Many providers say it elsewhere and in other words: in `message`, `hint`,
`errors[]`, as a code of their own, in a sentence. What counts is what is said *of the refresh token*. What is said of the
client, of the request, or of a passing failure never counts: it may cost nobody a grant. docs/decisions has the reasons,
tests/real_answers.toml what servers really answer.

The texts are read as words: a subject ("refresh token") and a verdict ("has expired", "is not valid") with nothing but
small words between them, and no other noun that the verdict could be about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from .paths import at

# Codes that are about the refresh token or the grant only.
CODES = frozenset(
	{
		"invalid_grant", "bad_refresh_token", "invalid_refresh_token", "expired_refresh_token", "refresh_token_expired",
		"refresh_token_invalid", "refresh_token_revoked", "refresh_token_not_found", "refresh_token_reused",
		"refresh_token_already_used", "token_expired", "token_revoked", "invalid_code",
		"token_inactive", "inactive_token", "expired_token", "revoked_token",
		"grant_expired", "expired_grant", "grant_revoked", "revoked_grant", "grant_not_found",
		# The grant is there, and of no use without the user (OIDC Core 3.1.2.6).
		"interaction_required", "login_required", "consent_required", "account_selection_required",
	}
)  # fmt: skip
# The one that some servers have for whatever fails: what is said beside it counts.
GENERIC = "invalid_grant"
# The code as part of a text: `oidc.invalid_grant`, "invalid_grant: …"; and in markup, or in JSON that cannot be parsed.
_GENERIC = re.compile(r"(?<![a-z0-9])invalid_?grant(?:_?(?:error|exception))?(?!_?[a-z0-9])", re.IGNORECASE)
_QUOTED = re.compile(
	r"[\"']error[\"']\s*:\s*[\"']invalid_grant[\"']|<error(?:_code)?>\s*invalid_grant\s*</", re.IGNORECASE
)
# Codes that are about something else, whatever the text says.
OTHERS = frozenset(
	{
		"invalid_client", "incorrect_client_credentials", "invalid_scope", "unsupported_grant_type", "invalid_target",
		"temporarily_unavailable", "server_error", "slow_down", "rate_limited", "ratelimited", "redirect_uri_mismatch",
		"invalid_dpop_proof", "use_dpop_nonce", "invalid_client_metadata",
	}
)  # fmt: skip

# What RFC 6749 5.2 has one code for, and most have for the address.
_STANDARD = (
	(
		re.compile(
			r"(?:invalid|bad|unknown|wrong|incorrect|expired)_client_?(?:id|secret|credentials?)?"
			r"|client_?(?:id|secret|credentials?)?_(?:invalid|unknown|mismatch|incorrect|expired|not_found)"
		),
		"invalid_client",
	),
	(
		re.compile(
			r"(?:invalid|bad|wrong|unknown)_(?:redirect|callback)_ur[il]"
			r"|(?:redirect|callback)_ur[il]_(?:invalid|mismatch|not_registered)"
		),
		"redirect_uri_mismatch",
	),
)
# Facebook's one number for all dead tokens stands beside a type that is the same for all its errors.
WELL_KNOWN = ("error.type=OAuthException & error.code=190",)

DEAD = frozenset(
	"invalid invalidated expired revoked inactive inactivated deactivated bad unknown nonexistent reused reuse consumed "
	"deleted removed blacklisted denylisted rotated superseded replaced stale wrong incorrect unrecognized unrecognised "
	"redeemed spent outdated obsolete dead lapsed terminated cancelled canceled rejected withdrawn illegal".split()
)
# A verdict when it is denied: "not valid", "no longer exists", "could not be found".
ALIVE = frozenset(
	"valid active found exist exists existing recognized recognised known accepted usable present live alive "
	"acceptable matched".split()
)
# Whose it is not: "not issued to this client", "does not belong to the user".
OWNED = frozenset("issued associated belong belongs linked".split())
NOT = frozenset("not no never cannot isn wasn doesn don couldn hasn".split())
# Between subject and verdict, and around them.
SMALL = frozenset(
	"a an the this that your our its it is was were are be been being has have had t s does do did could can may "
	"already either or and also now appears seems to either longer because as since by you we they user which who "
	"provided supplied given passed sent presented submitted specified used old previous current value for of with in "
	"on at from due please any anymore more again permanently just code error exception "
	"reason status detected".split()
)
# Words that mean something else, or a passing failure: the sentence does not count.
VETOES = frozenset(
	"missing required require requires empty blank absent null temporarily temporary later retry unavailable timeout "
	"timed rate limit limited limits throttled many requests overloaded busy maintenance internal database backend "
	"upstream gateway unsupported json malformed encoding content decode parse parsing decrypt connect "
	"connection network lock locked yet before until unless if when pending processing concurrent concurrently "
	"progress region node shard cluster cache currently momentarily decryption decrypted down lag outage replica "
	"replication unreachable line column position offset character characters syntax lexical restarting "
	"failover migration migrating".split()
)
# Behind the token: it is the request that lacks it, or has it in the wrong place.
PLACES = frozenset(
	"header headers body cookie cookies parameter parameters param params payload query form field fields format "
	"endpoint input offline environment sandbox audience resource ip".split()
)
# Words of a passing failure, in a code or in a further sentence.
PASSING = frozenset(
	"temporarily temporary later retry unavailable timeout throttled throttling rate limit limited overloaded "
	"maintenance".split()
)
# Who names these beside the refresh token may mean them.
OTHER_SUBJECTS = frozenset(
	"client secret credential credentials authentication application app key signature assertion certificate scope "
	"scopes".split()
)
# A token that is called something is another one, but for these names.
THE_TOKEN = frozenset("oauth offline refreshed".split())
# A mere token beside these is the one of a header, or the access token.
_WITH_ANOTHER = frozenset("refresh access bearer authorization".split())
# Words before "refresh token".
_KINDS = frozenset("jwt oauth opaque 2 . 0".split())
# The same in other languages. The sentence may have nothing else.
_SUBJECT_ABROAD = (
	r"(?:refresh[ _-]?tokens?|aktualisierungs-?token|刷新令牌|刷新 ?token|更新令牌|リフレッシュ ?トークン|리프레시 ?토큰|갱신 ?토큰"
	r"|jeton d['’]actualisation|jeton de rafra[iî]chissement|token de (?:actualizaci[oó]n|refresco|atualiza[cç][aã]o)"
	r"|token di aggiornamento|токен обновления)"
)
_DEAD_ABROAD = (
	r"(?:(?:ist |wurde )?(?:abgelaufen|ungültig|widerrufen|nicht (?:mehr )?gültig)"
	r"|(?:est |a )?(?:été )?(?:invalide|expirée?|révoquée?)|n['’]est (?:pas|plus) valide"
	r"|(?:ha |es |está |ha sido |é |foi |è |è stato )?(?:expirado|caducado|caducó|expiró|expirou|inv[aá]lido|revocado|revogado"
	r"|scaduto|revocato|non valido)|no es v[aá]lido|non è (?:più )?valido|não é (?:mais )?válido"
	r"|недействителен|недействительный|ист[её]к|просрочен|отозван"
	r"|(?:已经?|已經|是)?(?:被)?(?:过期|過期|失效|无效|無效|不合法|撤销|吊销|注销)(?:了|的)?"
	r"|[がはの]?(?:無効(?:です)?|有効期限が切れ(?:ています|ました)|期限切れ(?:です)?|失効し(?:ています|ました))"
	r"|[이가은는]? ?(?:만료되었습니다|만료됨|유효하지 않습니다))"
)
_ABROAD = re.compile(
	rf"(?:(?:das|der|le|la|el|il|o|su|votre|ihr|dein|seu|ваш|提供的|该) ?)?{_SUBJECT_ABROAD} ?{_DEAD_ABROAD}"
	rf"(?: ?(?:oder|ou|o|e|et|y|und|или|或|或者|、|,|，) ?{_DEAD_ABROAD})?"
	rf"|(?:ungültiges|abgelaufenes|无效的?|無效的?|过期的|無効な|недействительный) ?{_SUBJECT_ABROAD}",
	re.IGNORECASE,
)
_SENTENCE_ABROAD = re.compile(r"[.;:!?。！；：？\n]+")
# Beside `invalid_grant`: what passes, or is for the people there to end.
_LATER = re.compile(
	r"\b(?:being processed|in progress|slow down|(?:already|currently|still) processing"
	r"|(?:concurrent|simultaneous)(?:ly)?(?! (?:\w+ )?(?:sessions?|logins?|devices|tokens)\b)"
	r"|another (?:request|refresh)|duplicate request|request loop|deadlock|upstream|outage|downtime|maintenance"
	r"|overload(?:ed)?|busy|transient|temporarily|momentarily|unavailable|locked|throttl\w+|rate|ratelimit\w*|quota"
	r"|temporary (?!password|code|token|credential)|(?:at this time|at the moment|for now)$"
	r"|(?:try|retry|again|at a)(?: \w+){0,4} later|again (?:in|after|shortly|soon)\b|shortly$"
	r"|(?<!not )(?<!no )retry(?! (?:\w+ ){0,3}(?:log|login|sign|authoriz\w+|authenticat\w+|consent|flow)"
	r"| with (?:a |another )?(?:new|valid|fresh|different)\b)|retry (?:before|until|within|for)"
	r"|too many (?!(?:\w+ ){0,3}(?:tokens|sessions|grants|devices|authorizations)\b)"
	r"|exceeded (?:\w+ ){0,5}(?:attempts|requests|calls|logins)|(?:attempts|requests|calls|logins) (?:\w+ ){0,3}exceeded"
	r"|internal (?:\w+ )?(?:error|exception|failure|fault)|server error|unexpected (?:\w+ )?(?:error|exception|failure)"
	r"|(?:database|backend|gateway|network|socket|store|ldap) (?:\w+ ){0,2}(?:error|failure|exception|down)"
	r"|connection (?:\w+ )?(?:refused|reset|closed(?! by the user)|error|lost|failed|aborted|timed|dropped)"
	r"|connect (?:error|failure|timeout)"
	r"|(?:unable to|cannot|could not|couldn t|failed to) (?:be )?(?:process|complete|(?:re)?connect|reach|contact|handle)(?:e?d)?"
	r"|http (?:\w+ ){0,2}5\d\d|not yet (?:valid|active|usable|expired)|(?:not|hasn t) expired yet"
	r"|access token (?:\w+ ){0,3}(?:not|hasn t) expired|login hours"
	r"|^(?:(?:the|your|this|current|provided|access|refresh|oauth) )*token (?:(?:is|has|was) )?"
	r"(?:(?:not|hasn t|isn t) (?:been )?expired|still (?:valid|active|alive|usable))(?! (?:\w+ )?but\b)"
	r"|in flight|being (?:refreshed|renewed|rotated)|(?:acquire|obtain|get) (?:\w+ ){0,2}lock"
	r"|too (?:recently|early|soon|fast|quickly|often|frequent|frequently)|once (?:every|per)"
	r"|(?:service|server|system|site|api) (?:(?:is|are|currently) )*"
	r"(?:not (?:available|ready)|offline|down|starting|shutting)"
	r"|(?:system|unknown|unhandled|fatal|general|service|technical|runtime) (?:error|exception|failure|fault|problem)"
	r"|bad gateway|(?:error|status|code) 5\d\d$|econn\w+|etimedout|enotfound|epipe|eai again|socket hang"
	r"|deadline exceeded"
	r"|(?:context|operation|request|query|execution) (?:(?:was|is|has been) )?(?:cancell?ed|aborted|interrupted)"
	r"|out of memory|(?:request|api|call|daily|hourly|monthly) limit (?:(?:is|was|has been) )?(?:exceeded|reached)"
	r"|max(?:imum)? (?:\w+ ){0,2}(?:requests|calls|attempts)|wait (?:before|for|\d+)|^(?:please )?(?:wait|try again)$"
	r"|already refreshing|in process|another (?:process|thread|instance|worker) is|blocked for \d+"
	r"|by (?:the |our |a )?(?:firewall|waf)|clock skew|(?:invalid|expired) timestamp|timestamp (?:\w+ )?(?:invalid|expired)"
	r"|limit of (?:\w+ )?(?:requests|calls|attempts)|something went wrong|error (?:has )?occurr?ed"
	r"|null ?(?:pointer|reference)\w*|sql ?(?:state|exception|error)\w*"
	r"|(?:organi[sz]ation|org|tenant|instance|workspace|company)(?: is| was| has| been| currently)* "
	r"(?:inactive|suspended|disabled|closed|frozen|deactivated|paused)(?! (?:this|the|your|access|user))"
	r"|(?:inactive|suspended|disabled|frozen|deactivated) (?:organi[sz]ation|org|tenant|instance|workspace|company)"
	r"|ip (?:\w+ ){0,6}(?:restricted|blocked|allowed|permitted|denied|banned|malicious|(?:white|allow)list(?:ed)?)"
	r"|(?:restricted|blocked|denied|banned|from) (?:\w+ ){0,6}ip)\b"
)
# Which of the parties failed, it does not say.
_UNCLEAR = re.compile(r"(?:the )?authentication (?:has )?(?:failure|failed)(?: \.)?")
_TIMED_OUT = re.compile(r"\b(?:timeout|time out|timed out)\b")
_GRANT_TIMED_OUT = re.compile(
	r"(?:(?:the|this|your) )?(?:refresh ?)?(?:token|grant|consent)(?: has| was)? timed out\b"
)
# What the user has to do, or has done.
_FOR_THE_USER = re.compile(
	r"\b(?<!or )(?:(?:log|sign) ?(?:in|on) and|re ?(?:authenticat|authori[sz]|consent)\w*|reconnect(?! to)"
	r"|(?:(?:log|sign) ?(?:in|on)|authenticate|authori[sz]e|consent|grant access) (?:\w+ ){0,2}again)\b"
)
_BY_THE_USER = re.compile(
	r"\b(?:(?:user|owner|customer|merchant|member|admin|administrator)(?: has)?|access(?: has been| was| is)?)"
	r" (?:revoked|removed|withdrawn|withdrew|disconnected|deauthori[sz]ed|uninstalled)\b"
)
# Whose end has a time is the user's login.
_OF_A_LOGIN = frozenset("session sessions idle inactivity inactive sso login lifetime".split())
_OF_THE_CLIENT = re.compile(
	r"\b(?:client (?:secret|credentials?|authentication|assertion|certificate)"
	r"|(?:application|app) (?:secret|credentials?|certificate|authentication (?:has )?fail\w*)|api key)\b"
)
# Nor is the grant what these are.
_OF_NEITHER = re.compile(r"\b(?:csrf|xsrf|captcha|dpo ?p proof|nonce|invitation)\b")
# Of two that may be wrong, the code names the grant.
_OR_THE_GRANT = re.compile(r"\brefresh ?token or\b|\bor (?:\w+ ){0,2}refresh ?token\b|\bbound\b")
_BAD = re.compile(
	r"\b(?:invalid|wrong|bad|incorrect|expired|unknown|mismatch|unsuccessful|missing|revoked|already (?:been )?used"
	r"|fail\w*|not (?:valid|match))\b"
)
_THE_CLIENT = re.compile(
	r"(?:the )?(?:(?:invalid|unknown|bad) client(?: id)?|client (?:is )?(?:invalid|unknown)"
	r"|missing (?:an? |the )?(?:required )?client (?:id|secret)|client (?:id|secret) (?:is )?(?:required|missing)"
	r"|(?:client|application|app) (?:(?:is|was|has|been) )*(?:disabled|deactivated|suspended|inactive|not (?:found|active))"
	r"|(?:invalid|bad|unknown) (?:api key|app ?id)|api key (?:is )?(?:invalid|unknown)"
	r"|client authentication (?:is )?required|no client (?:credentials|authentication))"
)
# The request, which has a refresh token and a grant type.
_OF_THE_REQUEST = re.compile(
	r"missing (?:\w+ )?parameter|(?:missing |no )(?:the )?refresh ?token(?: (?:was )?(?:supplied|provided|sent|given))?"
	r"|(?:the )?refresh ?token (?:is |was )?(?:missing|required)"
	r"|(?:unsupported|unknown|invalid) grant ?type"
	r"|(?:the )?grant ?type (?:is )?(?:not supported|unsupported|unknown|invalid)"
)
# Names of the grant, and verdicts that it is over.
_GRANT = re.compile(
	r"\b(?:refreshtoken|(?:token|tokens|grant|session|consent|authorization|code)"
	r"(?! (?:request|refresh|service|endpoint|server|store|type)))\b"
)
# Of what is no grant.
_OTHER_NAMES = re.compile(
	r"\b(?:access|id|api|csrf|invitation|bearer|client|database|db|ldap|backend) (?:token|tokens|session|sessions|code)\b"
)
_OVER = frozenset(
	"expired revoked invalidated reused consumed redeemed rotated superseded deleted removed blacklisted denylisted "
	"withdrawn terminated malformed replaced".split()
)
_SPENT = re.compile(r"\b(?:already|was|been) (?:been )?used\b")
_CLAUSE = re.compile(r"[.;:!?,()](?:\s|$)|\s\(|\)|\n")
DEEPEST, MOST_TEXTS, LONGEST_TEXT = 5, 60, 1000

_ARTICLES = frozenset("a an the this that your our its provided supplied given".split())
_PREPOSITIONS = frozenset("of for with in on by from to".split())
_ANOTHER = _ARTICLES | {"another", "different", "other"}
# "an unknown error", "a bad status code": what these belong to is not the token.
_ADJECTIVES = frozenset("bad unknown wrong incorrect invalid illegal".split())
_NOUNS = frozenset("error exception status code reason".split())
_IS = frozenset("is are was were has have had been be".split())
_WORD = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TRIED = re.compile(r"\b(?:to|not|cannot|could|can|couldn t|when) refresh (?:the |your |this |a )?token\b")
_FOR_NOW = re.compile(
	r"\b(?:at this time|at the moment|for now|is being|too (?:recently|early|soon|fast|quickly))\b"
)
_TYPE = re.compile(r"\bgrant ?type\b")
_SENTENCE = re.compile(
	r"[.;!?](?:\s|$)|\n|\s(?:rid|(?:req|request|trace|log)_?id)\s*[:=]"
	# What the user has to do is no part of what is said of the token.
	r"|, (?=please (?:re-?(?:authori[sz]e|authenticate|connect)|(?:log|sign) ?in)\b(?!.{0,200}\blater))",
	re.IGNORECASE,
)
# An identifier, which says nothing.
_OPAQUE = re.compile(
	r"(?<![\w.+/=~-])(?![\w.+/=~-]*token)(?=[\w.+/=~-]*\d)[\w.+/=~-]{8,}|\bwith (?:the )?(?:id|hash|jti)[:=# ]+\S+",
	re.IGNORECASE,
)
_IN_REQUEST = re.compile(r" in (?:the |this |your )?request$")
# A whole clause of the grant, by what else it is called, or of who has ended it.
_ENDED = re.compile(
	r"(?:(?:the|this|your|user|users|s|oauth|2) )*(?:(?:grant|consent|authori[sz]ation)(?: (?:has|was|is|been|already))*"
	r" (?:revoked|withdrawn|expired|no longer valid)|access(?: (?:has|was|is|been|already))* (?:revoked|withdrawn))"
	r"(?: by (?:the )?(?:user|owner|customer|merchant|member|admin|administrator))?"
	r"|(?:the )?(?:account |resource )?(?:user|owner|customer|merchant|member)(?: has)?(?: already)?"
	r" (?:revoked|withdrawn|withdrew|disconnected|deauthori[sz]ed|uninstalled)"
	r"(?: (?:(?:the|their|this|your|app|application|s) )*(?:app|application|access|consent|authori[sz]ation|permissions?"
	r"|grant|connection|integration|tokens?)(?: (?:to|for|of) .*)?)?"
	r"|(?:the )?refresh ?token (?:lifetime|validity(?: period)?)(?: has| is| was| been)* (?:exceeded|expired|over|ended)"
	r"|(?:could not|couldn t|cannot|can not|unable to|failed to) find (?:the |a |any |this )?(?:matching |valid )?refresh ?token"
	r"|no (?:matching|such) refresh ?token(?: (?:was )?found)?"
	r"|(?:the )?(?:user |login )?(?:session|user)(?: has| was| is| been| does)*"
	r" (?:not found|no longer exists?|not exist|revoked|terminated|deleted)|user may have been deleted"
)


def is_said(answer: object, text: str = "", *, code: str = "", more: Iterable[str] = ()) -> bool:
	"""Whether an answer to a refresh says that the refresh token is dead.

	:param answer: the body as JSON or as a form, without the secrets that were sent
	:param text: the body as text, where it is neither
	:param code: the `error` of the answer
	:param more: what a provider's template adds: words, or `path=value`
	"""
	own = as_code(code)
	pieces = list(_pieces(answer)) if answer else [("", text[:LONGEST_TEXT])]
	codes = [as_code(value) for _key, value in pieces]
	# One that stands elsewhere settles it as well.
	if own in OTHERS or (own not in CODES and OTHERS.intersection(codes)):
		return False
	said = answer or text
	if (own in CODES and own != GENERIC) or any(matches(said, each) for each in (*WELL_KNOWN, *more)):
		return True
	if GENERIC in (own, *codes) or any(_GENERIC.search(value) for _key, value in pieces):
		return not excuse(said)
	if any(PASSING.intersection(each.split("_")) for each in codes):
		return False
	if CODES.intersection(codes):
		return True
	if answer:
		answer = _besides_type(answer)
		pieces = list(_pieces(answer))
	sentences = [sentence for _key, value in pieces for sentence in _SENTENCE.split(value)]
	# {"refresh_token": "is invalid"}, and Strava's {"resource": "RefreshToken", "code": "invalid"}.
	sentences += [f"{key} {value}" for key, value in pieces if _subject(_words(key))]
	sentences += [" ".join(pair) for pair in _pairs(answer)]
	if any(_is_dead(_words(_OPAQUE.sub(" ", sentence)), " " in sentence.strip()) for sentence in sentences):
		return True
	clauses = (clause for _key, value in pieces for clause in _CLAUSE.split(value))
	return any(_ENDED.fullmatch(" ".join(_words(clause))) for clause in clauses) or any(
		_ABROAD.fullmatch(part.strip()) for _key, value in pieces for part in _SENTENCE_ABROAD.split(value)
	)


def in_markup(text: str) -> str:
	"""What stands around the code `invalid_grant` in a page, in XML, or in JSON with something around it, without tags;
	empty where it has no such code."""
	found = _QUOTED.search(text)
	around = (
		text[max(found.start() - LONGEST_TEXT // 2, 0) : found.end() + LONGEST_TEXT // 3] if found else ""
	)
	return re.sub(r"<[^>]*>", " ", around)


def excuse(answer: object) -> str:
	"""Why an answer with the code `invalid_grant` does not mean the end of the grant; empty if it does.

	:returns: "client": it is the client that was refused; "later": it will pass, or nobody can know
	"""
	said = [value for _key, value in _pieces(answer) if as_code(value) != GENERIC]
	clauses = [_words(clause) for value in said for clause in _CLAUSE.split(value)]
	sentences = [_words(sentence) for value in said for sentence in _SENTENCE.split(value)]
	if any(_is_dead(words, True) or _is_over(words) for words in (*clauses, *sentences)):
		return ""
	# What the user has to do will not pass by itself.
	texts = [text for words in clauses if not _FOR_THE_USER.search(text := " ".join(words))]
	if not any(_OR_THE_GRANT.search(" ".join(words)) for words in sentences) and any(
		_THE_CLIENT.fullmatch(text) or (_OF_THE_CLIENT.search(text) and _BAD.search(text)) for text in texts
	):
		return "client"
	is_later = any(
		_LATER.search(text)
		or _OF_THE_REQUEST.fullmatch(text)
		or (_OF_NEITHER.search(text) and _BAD.search(text))
		or (
			_TIMED_OUT.search(text)
			and not _OF_A_LOGIN.intersection(text.split())
			and not _GRANT_TIMED_OUT.match(text)
		)
		for text in texts
	)
	return "later" if is_later or any(_UNCLEAR.fullmatch(" ".join(_words(value))) for value in said) else ""


def _is_over(words: list[str]) -> bool:
	"""Whether a clause says that the grant, by any of its names, is over."""
	text = " ".join(words)
	if _BY_THE_USER.search(text):
		return True
	text = _OTHER_NAMES.sub(" ", text)
	if not _GRANT.search(text) or _names_another(words) or _FOR_NOW.search(text) or "yet" in words:
		return False
	if NOT.intersection(words):
		return bool(ALIVE.intersection(words))
	return bool(_OVER.intersection(words) or _SPENT.search(text))


def matches(answer: object, word: str) -> bool:
	"""Whether `answer` has a text that is `word`, or at `path=value` that value.

	:param word: compared without regard to case; a path is dotted; several are joined by " & "
	"""
	if " & " in word:
		return all(matches(answer, each) for each in word.split(" & "))
	path, equals, value = word.partition("=")
	if equals:
		return str(at(answer, path)).casefold() == value.casefold()
	return any(said.strip().casefold() == word.casefold() for _key, said in _pieces(answer))


def _pieces(value: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
	"""Each text in `value` with the key that it stands at."""
	found = 0
	if isinstance(value, str):
		if value[:1] in ("{", "[") and depth < DEEPEST:
			# What a gateway quotes of the answer that it got.
			try:
				yield from _pieces(json.loads(value[: 10 * LONGEST_TEXT]), key, DEEPEST - 1)
			except (ValueError, RecursionError):
				pass
			else:
				return
		if "://" not in value[:12]:
			yield key, value[:LONGEST_TEXT]
		elif key == "type":
			# RFC 9457 3.1.1: the end of the address is the code.
			yield key, value[:LONGEST_TEXT].rstrip("/").rpartition("/")[2]
	elif depth < DEEPEST and isinstance(value, Mapping):
		for inner, each in value.items():
			for piece in _pieces(each, str(inner)[:LONGEST_TEXT], depth + 1):
				found += 1
				if found > MOST_TEXTS:
					return
				yield piece
	elif depth < DEEPEST and isinstance(value, list):
		for each in value[:MOST_TEXTS]:
			yield from _pieces(each, key, depth + 1)


def _pairs(value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
	"""Of each object: a text that is a subject and nothing else, with each other text of the same object."""
	if depth >= DEEPEST:
		return
	if isinstance(value, Mapping):
		texts = [each for each in value.values() if isinstance(each, str)]
		for each in texts[:10]:
			if _subject(_words(each)):
				yield from ((each, other) for other in texts[:10] if other is not each)
		for inner in value.values():
			yield from _pairs(inner, depth + 1)
	elif isinstance(value, list):
		for inner in value[:MOST_TEXTS]:
			yield from _pairs(inner, depth + 1)


def _besides_type(value: object, depth: int = 0) -> object:
	"""`value` without what it says of the request's `grant_type`, whose value has the name of the token."""
	if isinstance(value, Mapping) and depth < DEEPEST:
		if any(isinstance(each, str) and _is_type(each) for each in value.values()):
			return {}
		return {
			name: _besides_type(each, depth + 1) for name, each in value.items() if not _is_type(str(name))
		}
	if isinstance(value, list) and depth < DEEPEST:
		return [_besides_type(each, depth + 1) for each in value]
	return value


def _is_type(text: str) -> bool:
	return len(text) < 20 and "".join(_words(text)) == "granttype"


def _words(text: str) -> list[str]:
	split = _CAMEL.sub(" ", text).replace("_", " ").replace("-", " ").replace("'", " ").replace("’", " ")
	words = [word.casefold() for word in _WORD.findall(split) if word not in ('"', "`", "“", "”", "*")]
	# "Failed to refresh token": that is what was tried, and no subject.
	text = _TRIED.sub(" ", " ".join(words))
	return text.split()


def as_code(text: str) -> str:
	"""`text` as a code: `InvalidGrant`, `invalid-grant` and "Invalid grant" are `invalid_grant`, and those for a part of
	the client's credentials are `invalid_client`."""
	words = "_".join(word for word in _words(text) if word.isalnum()) if len(text) <= 60 else ""
	return next((standard for said, standard in _STANDARD if said.fullmatch(words)), words)


def code_in(answer: object, known: Collection[str]) -> str:
	"""The first of the texts in `answer` that is one of the codes `known`; a sentence is none. Empty where there is none."""
	codes = (as_code(value) for _key, value in _pieces(answer) if " " not in value.strip())
	return next((code for code in codes if code in known), "")


def _subject(words: list[str]) -> bool:
	return words in (["refresh", "token"], ["refreshtoken"])


def _is_dead(words: list[str], is_sentence: bool) -> bool:
	"""Whether a sentence or a code says that the refresh token is dead."""
	if not ALIVE.intersection(words):
		# "… in the request": it may be missing there, but if it is invalid there, it is invalid anywhere.
		words = _IN_REQUEST.sub("", " ".join(words)).split()
	behind = words[words.index("token") :] if "token" in words else words
	if _FOR_NOW.search(text := " ".join(words)) or _TYPE.search(text):
		return False
	if VETOES.intersection(words) or PLACES.intersection(behind) or _names_another(words):
		return False
	for start, end in _subjects(words, is_sentence):
		if (_is_head(words[:start]) and _verdict_behind(words[end:])) or _verdict_before(
			words[:start], words[end:]
		):
			return True
	return False


def _names_another(words: list[str]) -> bool:
	"""Whether something else is named that the sentence may be about: the client, but not in "issued to another client"; a
	request that the token is not *in*."""
	for index, word in enumerate(words):
		if word not in OTHER_SUBJECTS and word != "request":
			continue
		before = next((each for each in reversed(words[:index]) if each not in _ANOTHER), "")
		if (before in ("in", "from", "with")) if word == "request" else (before not in _PREPOSITIONS):
			return True
	return False


def _is_head(before: list[str]) -> bool:
	"""Whether what follows `before` can be what the sentence is about: not in "the owner of this …"."""
	words = [word for word in before if word not in _ARTICLES]
	of_something = any(word.isalpha() and word not in SMALL for word in words)
	return not (of_something and words[-1] in _PREPOSITIONS)


def _subjects(words: list[str], is_sentence: bool) -> Iterator[tuple[int, int]]:
	"""Where the refresh token is named; a mere "token" counts in a sentence, and if it is no other one.

	The code `invalid_token` alone may be a gateway's, about a bearer token that it expected (RFC 6750 3.1).
	"""
	for index, word in enumerate(words):
		if word == "refreshtoken":
			yield index, index + 1
		if word != "token":
			continue
		before = words[index - 1] if index else ""
		if before == "refresh":
			start = index - 1
			while start and words[start - 1] in _KINDS:
				start -= 1
			# "Value 'refresh_token' is invalid": that of the grant type.
			if words[start - 1 : start] != ["value"]:
				yield start, index + 1
		elif is_sentence and _is_unnamed(before) and _WITH_ANOTHER.isdisjoint(words):
			yield index, index + 1


def _is_unnamed(before: str) -> bool:
	if before in ("user", "users"):
		return False
	return not before.isalpha() or before in SMALL or before in DEAD or before in NOT or before in THE_TOKEN


def _verdict_behind(words: list[str]) -> bool:
	"""… has expired, … is no longer valid, … (expired), …: invalid or revoked"""
	denied = False
	for index, word in enumerate(words):
		if word in NOT:
			denied = True
		elif word in DEAD:
			# "is invalid", and not "is invalid client".
			behind = words[index + 1 :]
			of_noun = word in _ADJECTIVES and _NOUNS.intersection(behind[:1])
			return not denied and not of_noun and _ends_here(behind)
		elif word in ALIVE:
			return denied and _ends_here(words[index + 1 :])
		elif word in OWNED:
			return denied and not _PREPOSITIONS.isdisjoint(words[index + 1 : index + 2])
		elif word == "used" and not denied and "already" in words[: index + 2]:
			return True
		elif word == "used" and index == 0:
			# "Old refresh token used" is seen from before the subject.
			return False
		elif word.isalpha() and word not in SMALL:
			return False
	return False


def _verdict_before(words: list[str], behind: list[str]) -> bool:
	"""Invalid …, Expired or revoked …, Unknown …, Old … used"""
	if not _ends_here(behind):
		return False
	for index in range(len(words) - 1, -1, -1):
		word = words[index]
		if word in DEAD:
			# "The secret is invalid for …" is about the secret.
			of_another = (
				index and words[index - 1] in _IS and any(each not in SMALL for each in words[:index])
			)
			return not of_another and not NOT.intersection(words)
		if word == "old" and behind[:1] == ["used"]:
			return True
		if word == "such" and words[index - 1 : index] == ["no"]:
			return True
		if word.isalpha() and word not in SMALL:
			return False
	return False


def _ends_here(words: list[str]) -> bool:
	"""Whether what follows is no noun that the verdict would belong to."""
	return not words or not words[0].isalpha() or words[0] in SMALL or words[0] in DEAD
