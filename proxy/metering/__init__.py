"""One metered call: opened, sent, relayed, measured, settled.

``relay`` pushes the answer through while ``wire`` reads it; ``outcome`` decides, purely, what the
call comes to; ``call`` puts the steps in order.
"""
