"""Maps of what an answer rests on: below the behaviors that compare them."""
