"""Out through a proxy: what a client says to it before there is TLS with the server."""
