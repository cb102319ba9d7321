"""How fast: engines, the library in process, the service over HTTP, start and memory."""
