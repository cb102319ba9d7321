"""The requests under way: what they may hold, and what is told of them. Below all that answers
them."""
