"""The page to drop a photograph on, and the HTTP interface behind it: `nedr serve`."""
