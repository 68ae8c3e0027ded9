"""The whole life of this app on a site of its own, from core's rows to core's rows and back.

`python -m tests.life BENCH`; read `story.py` first: it is what happens, in order.
"""
