"""What the tests stand on: worlds, scripted peers, throw-away TLS, real servers, leak checks.

The guide to writing a test is at the top of `tests/conftest.py`.
"""
