"""Programs that search for input which kerasqnn does not handle."""
