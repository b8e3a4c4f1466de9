"""Scores: results and, where there is one, the truth go in; metrics per picture, tables and figures come out,
for benchmarks as they unpack. Imports `inference`, `pictures` and `errors`.
"""
