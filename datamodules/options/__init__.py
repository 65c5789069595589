"""Options with their defaults, as plain dataclasses.

Nothing here imports torch or NumPy, so that settings can be listed and checked quickly.
"""
