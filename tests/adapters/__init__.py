"""A connection in the hands of other libraries: the real ones, over sockets."""
