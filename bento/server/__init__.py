"""What stands between the socket and the application: connections, the API key, BentoML's own
paths and its two processes."""
