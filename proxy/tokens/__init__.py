"""The estimate for answers whose upstream reports no usage.

``estimate`` is the way in; ``messages`` (a chat's input), ``responses`` and ``completion`` (its
output) count by what ``families`` says of the model, in the words of ``vocabulary``.
``typescript`` and ``formats`` write functions and schemas as models see them; ``images`` and
``image_size`` count pictures, ``audio`` what is heard and spoken; ``json_shape`` reads whatever is
there.

>>> from proxy.tokens import estimate_input
>>> request = {"messages": [{"role": "user", "content": "Hello"}]}
>>> estimate_input("chat.completions", request, "gpt-4o").tokens
8
"""

from proxy.tokens.estimate import Estimate, estimate_input, estimate_output

__all__ = ["Estimate", "estimate_input", "estimate_output"]
