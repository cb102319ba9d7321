"""From a request's body to its reply: what a client may send, what it gets, what lies between."""
