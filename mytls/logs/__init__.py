"""What has happened, written down: how it looks, and where it goes."""
