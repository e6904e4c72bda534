"""The only code that opens a socket to a service: one blocking transport, one asynchronous, over the same calls."""
