from connected_app import __version__ as _version

app_name = "connected_app"
app_title = "Connected App"
app_publisher = "connected_app contributors"
app_description = (
	"An OAuth 2.0 and OpenID Connect client that people can trust with their mail, files and money"
)
app_email = "connected_app@noreply.invalid"
app_license = "mit"

# Browsers cache these for long, so a new version has a new address. The first shows a callback's message on the next page.
app_include_js = [
	f"/assets/connected_app/js/connected_app_message.js?v={_version}",
	f"/assets/connected_app/js/connected_app_code.js?v={_version}",
	f"/assets/connected_app/js/connected_app_desk.js?v={_version}",
]
app_include_css = [
	f"/assets/connected_app/css/connected_app_desk.css?v={_version}",
	f"/assets/connected_app/css/connected_app_code.css?v={_version}",
]
# The parts of the form, one file a subject; the DocType's own script says how they work together.
doctype_js = {
	"Connected App": [
		f"public/js/connected_app_form/{part}.js"
		for part in (
			*("provider", "differences", "scopes", "steps", "configuration", "findings"),
			*("connection", "accounts", "people", "redirect_uri", "registration"),
			*("keys", "service_account", "email"),
		)
	]
}
web_include_js = [
	f"/assets/connected_app/js/connected_app_message.js?v={_version}",
	f"/assets/connected_app/js/connected_app_portal.js?v={_version}",
]

# For System Managers only: Frappe chooses a user's page after login by the apps on this screen.
# /app on every version: released 16 redirects it to /desk, and recognizes Desk's apps by /app here.
add_to_apps_screen = [
	{
		"name": app_name,
		"logo": "/assets/connected_app/images/connected-app.svg",
		"title": "Connections",
		"route": "/app/connections",
		"has_permission": "connected_app.site.access.is_admin",
	}
]

# Next to My Account, for users without Desk.
portal_menu_items = [{"title": "My Connections", "route": "/my-connections"}]
update_website_context = "connected_app.site.cards.add_to_menu"

after_install = "connected_app.site.install.after_install"
after_migrate = "connected_app.site.install.after_migrate"
# These do not prevent deleting an app or a user: `site/offboarding.py` handles them.
ignore_links_on_delete = ["Token Cache", "Offboarding", "Client Registration"]

# Data in Redis that is no cache: attempts of people who are at the provider now, and counters.
persistent_cache_keys = ["connected_app_"]

before_uninstall = "connected_app.site.install.before_uninstall"

# Core's published paths: redirect URIs registered at providers go on working.
override_whitelisted_methods = {
	"frappe.integrations.doctype.connected_app.connected_app.callback": "connected_app.api.callback",
	"frappe.integrations.doctype.connected_app.connected_app.has_token": "connected_app.api.has_token",
}

doc_events = {
	"User": {
		"before_rename": "connected_app.site.offboarding.user_renamed",
		"on_update": "connected_app.site.offboarding.user_changed",
		"on_trash": "connected_app.site.offboarding.user_deleted",
	},
	"Email Account": {
		"before_validate": "connected_app.site.mail.before_validate",
		"on_update": "connected_app.site.mail.on_update",
	},
	"Server Script": {"on_update": "connected_app.site.callers.script_saved"},
	"Report": {"on_update": "connected_app.site.callers.script_saved"},
	"Error Log": {"before_insert": "connected_app.site.mail.hide_tokens"},
	"Notification Settings": {"on_trash": "connected_app.site.offboarding.before_user_deleted"},
}

scheduler_events = {
	"cron": {
		"*/5 * * * *": [
			"connected_app.site.revocation.retry",
			"connected_app.site.schedule.run",
			"connected_app.site.registrations.retry",
		],
	},
	"daily": ["connected_app.site.keys.care"],
}
