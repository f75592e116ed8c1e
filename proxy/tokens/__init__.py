"""The estimate for answers whose upstream reports no usage.

>>> from proxy.tokens import estimate_input
>>> request = {"messages": [{"role": "user", "content": "Hello"}]}
>>> estimate_input("chat.completions", request, "gpt-4o", "openai").tokens
8
"""

from proxy.tokens.estimate import Estimate, estimate_input, estimate_output

__all__ = ["Estimate", "estimate_input", "estimate_output"]
