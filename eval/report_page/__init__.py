"""Report a dataset and its scored runs as one HTML file.

`gather` reads, one module per section, and returns plain data; `page` fills the templates.
"""
