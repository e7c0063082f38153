"""What systemd is told of a service that it has started."""
