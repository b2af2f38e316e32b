"""What was observed of one model on one task, each observation made once."""
