"""Scores: results, and the truth if there is one, go in; metrics per picture, tables and figures come out.
Benchmarks are read as they unpack. Imports `inference`, `pictures` and `errors`.
"""
