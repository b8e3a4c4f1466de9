"""Reading and writing: any file, stream or array to pixels with their metadata, and pixels back to whole files
of the same kind. Imports `errors` and nothing else of ours; no torch.
"""
