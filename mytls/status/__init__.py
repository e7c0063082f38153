"""What operators see: metrics, a status service, its page."""
