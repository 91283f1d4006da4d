"""The ways to do the same, each a module that is run in a process and an environment of its own.

`ways(urls)` returns what does each row that the way knows, given the URLs of five servers with
databases of its own. What takes something away puts it there before, so that it can be repeated.
"""
