"""Methods that treat every layer by itself."""
