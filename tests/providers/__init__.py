"""Golden exchanges: what a provider's documentation says goes over the wire, replayed by a strict emulator.

The template is all that the core is told. `golden/*.toml` is written by hand from documentation, never from a template.
"""
