"""Measured quality columns for a finished dataset.

Nothing is generated again, changed or deleted.

A gate measures every image: how well it matches its prompt, whether it is unsafe, whether it nearly
repeats an earlier one. The results become columns of the dataset, e.g. for `train --filter`.
"""
