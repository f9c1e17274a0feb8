"""Measure generated digits: prompt accuracy, and their use for training.

The real digits for scoring are the held-out ones of `digits.held_out_digits`, which neither
training nor tuning uses.
"""

import logging
from typing import Any

from train.generator.images.domains import DOMAINS
from train.generator.network.sampling import (
    LabelledImages,
    digit_prompts,
    domain_template,
    generate,
)
from train.generator.probe.judges import (
    merge,
    real_digits,
    rounded,
    score,
    shrink,
    train_judge,
    zero_shot,
)

log = logging.getLogger(__name__)

GENERIC = "an image of a handwritten {}"
GUIDANCE = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5)
DOMAIN_GUIDANCE = 2.0
PER_DOMAIN = 20


def measure_digits(pipeline: Any, *, images_per_class: int) -> dict[str, Any]:
    """Return how often generated digits match their prompts, and the zero-shot scores."""
    judge = train_judge()
    by_guidance, sets = {}, []
    for guidance in GUIDANCE:
        generated = _generate_set(pipeline, GENERIC, guidance=guidance, per_class=images_per_class)
        by_guidance[f"{guidance:g}"] = rounded(score(judge, generated))
        sets.append(generated)
        log.info("guidance %g: %s", guidance, by_guidance[f"{guidance:g}"])
    domains = {}
    for name in DOMAINS:
        template = domain_template(name)
        generated = _generate_set(
            pipeline, template, guidance=DOMAIN_GUIDANCE, per_class=PER_DOMAIN
        )
        domains[name] = rounded(score(judge, generated))["top1"]
        sets.append(generated)
    real = real_digits()
    return {
        "prompt_accuracy": by_guidance,
        "prompt_accuracy_by_domain": domains,
        "zero_shot": {
            "guidance 1.5": rounded(zero_shot(sets[1], real)),
            "guidance 3": rounded(zero_shot(sets[3], real)),
            "guidance 1 to 7.5 and all domains": rounded(zero_shot(merge(sets), real)),
        },
    }


def _generate_set(
    pipeline: Any, template: str, *, guidance: float, per_class: int
) -> LabelledImages:
    prompts, labels = digit_prompts(template, per_class=per_class)
    seed = 1_000_000 + int(guidance * 100_000)
    return LabelledImages(
        shrink(generate(pipeline, prompts, guidance_scale=guidance, seed=seed)), labels
    )
