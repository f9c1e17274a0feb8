"""What a value is sampled from; prompt templates; captions."""
