"""What a user types for a model, opened: one file a form, found by path.

Each says in ``FORM`` what it takes, recognizes a text by ``takes(text)``, and gives by ``open_model(text, task,
weights)`` a torch module, or whatever satisfies a protocol of `whatelse.models.model`.
"""
