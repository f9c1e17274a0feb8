"""A card without plots: they take most of the time of a small build; `test_card.py` has them."""

from factory.card import images

images.plot_distributions = lambda recipes: None
