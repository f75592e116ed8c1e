"""What these tests start, as the end-to-end tests do."""

from tests.e2e.conftest import key, managed, passthrough, scripted, start_proxy

__all__ = ["key", "managed", "passthrough", "scripted", "start_proxy"]
