"""The end-to-end fixtures, for workers."""

from tests.e2e.conftest import openai_like as openai_like
from tests.e2e.conftest import start_proxy as start_proxy
