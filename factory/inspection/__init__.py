"""Preview, status, diff, verify and replay: they write nothing into a dataset."""
