"""Many files: names, folders, pipes and Ray datasets of photographs and videos go in, their results, a journal
to resume by and a report come out. Imports `video`, `raster`, `inference`, `pictures` and `errors`.
"""
