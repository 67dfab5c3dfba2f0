"""The fits: what each makes of its parameters, forwards and backwards.

Every fit begins at what it is tied to, where all tied parameters are 0, and states its change in standard deviations of
what is changed, so that one ridge is as strong for all parameters. A temperature is settled before (`Calibration`) and
stays: a free one would void the tie, since it scales any change away.
"""
