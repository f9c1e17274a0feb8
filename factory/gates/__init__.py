"""Measured quality columns for a finished dataset.

Nothing is generated again, changed or deleted.

A gate looks at every picture and says something of it: how well it fits its prompt, whether it is
unsafe, whether it nearly repeats an earlier one. What it says becomes columns of the set, for
`train --filter` and everyone else who reads it.
"""
