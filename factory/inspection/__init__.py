"""preview, status, diff, verify, replay, doctor: read only."""
