"""Formats that the gateway translates: the path below the stub that a provider's base address has, and a request as a
native client sends it."""
from urllib.parse import quote

from .upstream import QUESTION

FORMATS = {
    "anthropic": ("", lambda model: ("/v1/messages", {"model": model, "max_tokens": 1000, "stream": True, "messages": QUESTION})),
    "gemini": ("/v1beta", lambda model: (f"/v1beta/models/{quote(model, safe='')}:streamGenerateContent",
        {"contents": [{"role": "user", "parts": [{"text": QUESTION[0]["content"]}]}]})),
    "bedrock-converse": ("", lambda model: (f"/model/{quote(model, safe='')}/converse-stream",
        {"messages": [{"role": "user", "content": [{"text": QUESTION[0]["content"]}]}]})),
    "responses": ("/v1", lambda model: ("/v1/responses", {"model": model, "stream": True, "input": QUESTION})),
    "cohere": ("", lambda model: ("/v2/chat", {"model": model, "stream": True, "messages": QUESTION})),
}
