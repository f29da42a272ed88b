"""Foundations that the other packages use: checks of arguments, threads and instruction set, and memory.

A module belongs here if it knows nothing of layers, data or training. It imports only other modules of this package,
the compiled module, NumPy and the standard library.
"""
