"""Several processes that serve as one: a parent that has the sockets, and its workers."""
