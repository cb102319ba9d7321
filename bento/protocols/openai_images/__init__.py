"""What OpenAI's clients send for images (`images.generate`, `images.edit`, `models`).

A prompt is the name of a class here, or its index, or a text for models that read prompts; empty,
or "any", where it does not matter. What their API has beside that is accepted and ignored where it
would not change what is promised (`quality`, `user`), and refused where it would (`stream`,
`response_format="url"`).

Their masks are transparent where the picture is to be changed; ours are white there.
"""

from bento.protocols.openai_images.handlers import LOOKUPS, PROTOCOLS

__all__ = ["LOOKUPS", "PROTOCOLS"]
