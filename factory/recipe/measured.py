"""Measured effects of guidance: from docs/study.json, written by `make figures`."""

LOW_ON_CIFAR10 = "+10.6 and +10.8 points on CIFAR-10"
LOW_ON_EUROSAT = "+3.5 and +9.5 points on EuroSAT, not significant"
RANDOM_ON_EUROSAT = "+7.6 and +10.0, not significant"
