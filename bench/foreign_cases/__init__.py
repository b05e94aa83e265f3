"""Functions of other frameworks with inputs that make sense for them, for `foreign.py`.

A module has `cases()`: {name: (whether there are second derivatives, () -> samples)}, a sample
being (f, inputs, its own checker(order)).
"""
