"""What the service tells of itself: its models, its OpenAPI document, the schema for BentoML's
client."""
