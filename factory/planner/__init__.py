"""From a `ResolvedRecipe` to rows; random streams; cost."""
