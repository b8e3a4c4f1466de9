"""`nedr serve`: the page to drop a photograph on, and the HTTP interface behind it. Request bodies go in, pictures
and JSON come out. Imports `album`, `video`, `inference`, `pictures` and `errors`.
"""
