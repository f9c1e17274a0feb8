"""How values are sampled; prompt templates; captions."""
