"""How released clients fare with the broken peers of our tests.

`judging.py` has the rule, and `results.py` says what is in the file.

The peers run here, with `tests.support`; each client runs in a process of its own (`worker.py`, `clients`), which is
told what to do line by line (`driver.py`).
"""
