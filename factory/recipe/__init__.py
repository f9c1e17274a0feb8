"""From YAML to a `ResolvedRecipe`: read, merge, check, pin and lint recipes."""
