"""What is said in the clear before TLS."""
