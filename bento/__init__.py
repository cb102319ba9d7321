"""The BentoML service over every artifact in a folder; see docs/http.md."""
