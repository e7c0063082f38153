"""TLS: the only place that touches OpenSSL."""
