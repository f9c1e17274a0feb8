"""A local web page to browse a dataset: filter, sort, compare configs, find similar images, mark.

It shares reader, names and colours with the report (`eval.report_page`).
"""
