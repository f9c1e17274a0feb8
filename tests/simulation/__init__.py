"""A thousand ranks on a simulated clock, by the build's own claiming code."""
