"""Generate recipes with hostile, random or damaged content."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import strategies as st

VALID = """\
name: fuzzed
summary: One line.
classes: [cat, {label: dog, prompt: [a dog, puppy], place: kennel}]
images_per_class: 3
prompt: [{text: "a {style} {class} in {place}", weight: 2}, "{label}"]
negative_prompt: "{weather}"
variables:
  style: [photo, sketch]
  weather: {choice: {sunny: 3, foggy: 1}}
  place: {per_class: {cat: [house, tree]}, default: street}
  size: {loguniform: [1, 10]}
  turn: {cycle: [1, 2, 3]}
  pair: {linked: [hue, tone], values: [[red, 1], [blue, 2]]}
sampling:
  guidance_scale: {truncated_normal: {mean: 4, std: 1, low: 1, high: 7}}
  num_inference_steps: {integers: [2, 5]}
  seed: 7
  noise: shared
model: {id: embedded, scheduler: DDIMScheduler, scheduler_config: {steps_offset: 1}}
output: {size: [8, 9], resample: bicubic, antialias: false, format: webp}
"""

_KEYS = sorted(
    {
        *("name", "summary", "source", "extends", "classes", "images_per_class", "prompt"),
        *("negative_prompt", "variables", "sampling", "model", "output", "combine", "label"),
        *("guidance_scale", "num_inference_steps", "seed", "noise", "id", "revision", "scheduler"),
        *("scheduler_config", "height", "width", "size", "resample", "antialias", "format"),
        *("choice", "cycle", "uniform", "loguniform", "normal", "truncated_normal", "integers"),
        *("per_class", "linked", "default", "values", "value", "weight", "text", "mean", "std"),
        *("low", "high", "cat", "dog", "style", "<<", "__class__", "0", ""),
    }
)
_PIECES = [
    *("- ", ": ", "\n", "\n  ", "{", "}", "[", "]", ", ", "&a ", "*a", "|", ">", "'", '"', "#"),
    *("!!python/object:os.system ", "!!python/object/apply:os.system [id]", "!!binary ", "!x "),
    *("%YAML 1.1\n", "---", "...", "<<: ", "? ", "0x", "0b1", "1e9", "1:30", ".inf", ".nan", "-"),
    *("\t", "\x00", "\x1b[31m", "\u202e", "\ud7ff", "\\ud800", "\\0", "\\e[31m", "9" * 400),
    *("{class}", "{class.__init__}", "{0}", "{{", "}}", "{class!r}", "{class:>99999999}", "~"),
    *("{class[0]}", "{ class }", "{}", "${HOME}", "{% raw %}", "{{ 7 }}", "../../etc/passwd"),
    *("/etc/passwd", "/dev/zero", "~nobody/x", "http://x/y", "quickstart/base-class", "a\0b"),
    *("x" * 300, "y" * 5000),
    *_KEYS,
]

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(),
    st.sampled_from(_PIECES),
    st.text(max_size=20),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(_KEYS), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=12,
)


@st.composite
def recipes_with_odd_values(draw: st.DrawFn) -> bytes:
    """Return a valid recipe with some values, at any depth, replaced by others."""
    recipe = yaml.safe_load(VALID)
    for _ in range(draw(st.integers(1, 4))):
        place = recipe
        while True:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(keys))
            inner = place[key]
            deeper = isinstance(inner, dict | list) and inner and draw(st.booleans())
            if not deeper:
                place[key] = draw(values)
                break
            place = inner
    dump = draw(st.sampled_from([json.dumps, yaml.safe_dump]))
    return str(dump(recipe)).encode("utf-8", "surrogatepass")


@st.composite
def recipes_with_wounds(draw: st.DrawFn) -> bytes:
    """Return a valid recipe with parts of its text removed, doubled or overwritten."""
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 30)))
        new = draw(st.one_of(st.sampled_from(_PIECES), st.just(text[start:stop] * 2)))
        text = text[:start] + new + text[stop:]
    return text.encode("utf-8", "surrogatepass")


noise: st.SearchStrategy[bytes] = st.one_of(
    st.lists(st.sampled_from(_PIECES), max_size=40).map(lambda parts: "".join(parts).encode()),
    st.binary(max_size=200),
    values.map(lambda value: json.dumps(value).encode()),
)

recipe_files: st.SearchStrategy[bytes] = st.one_of(
    recipes_with_odd_values(), recipes_with_wounds(), noise
)
