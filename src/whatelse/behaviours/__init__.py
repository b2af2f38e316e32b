"""What else changed. One file is one behaviour; `whatelse.registry` finds it by its path."""
