"""A torch module of anybody's -> one graph: copied, captured, converted."""
