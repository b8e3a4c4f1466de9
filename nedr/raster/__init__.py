"""Rasters larger than memory: GeoTIFF, BigTIFF, tiled pyramids. The haze is found once, in an overview of the whole;
windows are then read, dehazed and written one by one. Needs rasterio, the extra `geo`; imports `inference` and below.
"""
