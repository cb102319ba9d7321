"""What can be asked of a model: one file a request."""
