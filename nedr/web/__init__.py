"""The page to drop a photograph on, and the HTTP interface behind it: `nedr serve`. Bodies of requests go in,
pictures and JSON come out. Imports `album`, `video`, `inference`, `pictures` and `errors`.
"""
