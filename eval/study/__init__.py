"""Run the paper's study from a file: build, train and score with the three commands, then report.

Each step runs as a separate command, as a user would type it: this package knows the commands and
their files, and imports neither `train` nor the parts of `factory` that generate images.
"""
