"""Frappe adapters for `oauth/`: storage of grants and attempts, permissions, and the display of errors."""
