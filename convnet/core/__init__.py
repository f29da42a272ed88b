"""What every room stands on: checks of arguments, the threads and the instruction set, and memory.

A module belongs here if it knows nothing of layers, data or training. It imports the compiled module and NumPy alone.
"""
