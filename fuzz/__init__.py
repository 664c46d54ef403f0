"""Fuzzing: what comes from outside, in every shape that a search finds, against what must hold whatever comes.

A target is a module with two functions. `check(data)` fails by an exception where something that is promised does not
hold: only our own errors, an end in a bounded number of steps, bounded memory, a pool that is as good as new. `seeds()`
gives the inputs from which a search begins, made of the rows that the tests have. The first bytes of an input choose
(the method, the engine, how the rest is cut), the rest is what a peer sends or a caller passes.

`scripts/fuzz` searches by coverage, with atheris. `tests/test_fuzz.py` checks a fixed set of damaged seeds, without it.
"""
