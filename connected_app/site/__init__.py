"""Frappe adapters for `oauth/`: where grants and attempts are kept, who may do what, how errors are shown."""
