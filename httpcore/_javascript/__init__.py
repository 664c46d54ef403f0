"""JavaScript, where Pyodide runs us: the runtime, and the ways to have a request sent by it.

Nothing here is imported anywhere else than in Pyodide.
"""
