"""preview, status, diff, verify, replay: read only."""
