"""The network of NeDR-Dehaze: each box of the architecture figure is a file; torch only, tensors in, tensors out."""
