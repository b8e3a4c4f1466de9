"""Videos: a file of many pictures goes in, the same file without haze comes out, steady over time, with its
sound and metadata. Imports `inference`, `pictures` and `errors`.
"""
