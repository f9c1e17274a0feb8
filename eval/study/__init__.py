"""The paper's study from a file: builds, trains and scores by the three commands, then reports.

Everything runs as a command of its own, as a user would type it: this package knows the commands
and the files they leave, and imports neither `train` nor the parts of `factory` that draw.
"""
