"""Quality gates: add measured columns to a finished dataset without changing its images or rows.

A gate measures every image: how well it matches its prompt, whether it is unsafe, whether it nearly
repeats an earlier one. The results become columns of the dataset, e.g. for `train --filter`.
"""
