"""The Python servers that mytls is compared with: scripts, PORT HANDLER KEY CERTIFICATE [CLIENT_CA]."""
