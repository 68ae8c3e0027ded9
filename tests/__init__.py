"""Lane 1: the protocol, without Frappe, against real sockets."""
