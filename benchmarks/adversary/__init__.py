"""Random whole models that try to trick: trunks that move, mix and join places before heads spelled in many ways.

Whoever draws them decides: Hypothesis in the tests, which makes a failing one smaller, or random numbers from a seed.
"""
