"""What a language model says of texts, and goes on with: by token, by choice, by pair of sentences."""
