"""Measure how well synthetic images cover the real ones, on features of any model.

Every figure is one number with the values that it has without each block of images, from which
`jackknife` computes intervals. The functions know nothing of datasets and models.
"""
