"""Measured effects of guidance: from docs/study.json, written by `make figures`."""

LOW_ON_CIFAR10 = "+10.6 and +10.8 points on CIFAR-10"
LOW_AGAINST_3 = "+4.8 and +3.9"
LOW_ON_EUROSAT = "+1.3 and +9.9 points on EuroSAT, not significant"
RANDOM_ON_EUROSAT = "+4.2 and +10.4, not significant"
