"""Whether a graph is local, and how near tiles come to the whole image."""
