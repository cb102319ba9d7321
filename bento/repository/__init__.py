"""The models that are served: found in a folder, tried, loaded, and replaced while the service
runs."""
