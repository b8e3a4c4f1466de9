"""The command line: words go in, calls of the other rooms come out, and an exit status. May import every room;
none imports this one.
"""
