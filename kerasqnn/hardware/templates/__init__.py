"""Files copied unchanged into generated projects; data, not imported by kerasqnn."""
