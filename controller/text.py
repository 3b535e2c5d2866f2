"""Text that comes from models, registries and pods is bounded and stripped before it reaches a condition or a log."""


def bounded(text: str, limit: int) -> str:
    """`text` on one line, without control characters, at most `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
