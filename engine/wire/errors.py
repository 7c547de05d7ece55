"""What is wrong with bytes that came over the wire."""

from __future__ import annotations

from engine.model.errors import Failed


class Malformed(Failed):
    """A batch that no agent of ours would send. The message says which part and by how much."""

    code = "malformed-batch"
