"""Clearing and hazing: a picture goes in, its haze field and the picture without or with that haze come out, by
the ONNX networks that ship here or by classical priors. Imports `pictures` and `errors`; no torch.
"""
