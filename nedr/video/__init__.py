"""Videos: a video goes in, the same video without haze comes out, free of flicker, with its sound and metadata.
Imports `inference`, `pictures` and `errors`.
"""
