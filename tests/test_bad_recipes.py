# ruff: noqa: E501 (a message stands on one line, as users see it)
"""Every message about a bad recipe, word for word; `@` stands for its file."""

from pathlib import Path

import pytest
from recipe_texts import BASE

from factory.common.errors import UserError
from factory.common.yaml_reader import TOO_DEEP
from factory.recipe.library import load_recipe

BAD: list[tuple[str, str]] = [
    ("", "@: is empty; a recipe starts with `classes:` or `extends:`"),
    ("5", "@:1:1: a recipe must be a mapping of keys to values"),
    ("[a]", "@:1:1: a recipe must be a mapping of keys to values"),
    ("a: [", "@:2:1: is not valid YAML here: did not find expected node content"),
    (
        "a: b: c",
        "@:1:5: is not valid YAML here: mapping values are not allowed in this context; quote texts that contain ': '",
    ),
    ("\tx: 1", "@:1:1: is not valid YAML here: found character that cannot start any token"),
    ("a: 1\na: 2", "@:2:1: key 'a' occurs twice (line 1); remove one"),
    ("<<: {a: 1}", "@:1:1: merge keys (<<) are not supported; use `extends`"),
    (
        "x: !!python/object:os.system {}",
        "@:1:4: tag tag:yaml.org,2002:python/object:os.system is not allowed; use plain values only",
    ),
    ("? [a]\n: 1", "@:1:3: a key must be a text, not a list or mapping"),
    ("no: 1", "@:1:1: key no is not text in YAML; quote it"),
    ("a: *b", "@:1:4: alias *b is used before its anchor &b ends"),
    ("a: &a [*a]", "@:1:8: alias *a is used before its anchor &a ends"),
    ("--- 1\n--- 2", "@:2:1: a second document starts here; keep one per file"),
    ("x: 010", "@:1:4: 010 would be read as an octal, binary or base-60 number; quote it"),
    (
        "x: .inf",
        "@:1:4: .inf is not a valid number; write a finite decimal number such as 7.5, or quote it",
    ),
    (BASE + "promt: x\n", "@:5:1: promt: unknown key; did you mean 'prompt'?"),
    (BASE + "sampling: {sed: 1}\n", "@:5:12: sampling.sed: unknown key; did you mean 'seed'?"),
    (BASE + "sampling: 5\n", "@:5:11: sampling: expected a mapping, found 5"),
    (
        BASE + "sampling:\n  guidance_scale: {uniform: [9, 7.5]}\n",
        "@:6:19: sampling.guidance_scale: low 9 is above high 7.5; swap them",
    ),
    (
        BASE + "sampling: {guidance_scale: {uniform: [1]}}\n",
        "@:5:38: sampling.guidance_scale.uniform: expected 2 values, found 1",
    ),
    (
        BASE + "sampling: {guidance_scale: {uniform: [1, 2, 3]}}\n",
        "@:5:38: sampling.guidance_scale.uniform: expected 2 values, found 3",
    ),
    (
        BASE + "sampling: {guidance_scale: {uniform: 3}}\n",
        "@:5:38: sampling.guidance_scale.uniform: expected [low, high], found 3",
    ),
    (
        BASE + "sampling: {guidance_scale: {unifrom: [1, 2]}}\n",
        "@:5:28: sampling.guidance_scale: unknown distribution 'unifrom'; did you mean 'uniform'?",
    ),
    (
        BASE + "sampling: {guidance_scale: high}\n",
        "@:5:28: sampling.guidance_scale: expected numbers, found text 'high'",
    ),
    (
        BASE + "sampling: {guidance_scale: {linked: [a, b], values: [[1, 2]]}}\n",
        "@:5:28: sampling.guidance_scale: linked is only allowed in `variables`",
    ),
    (
        BASE + "sampling: {guidance_scale: {uniform: [1e-4, 2]}}\n",
        "@:5:39: sampling.guidance_scale.uniform.0: 1e-4 is text in YAML; write 1.0e-4",
    ),
    (
        BASE + "sampling: {guidance_interval: [0.6, 0.2]}\n",
        "@:5:31: sampling.guidance_interval: expected [START, STOP], fractions of the steps with "
        "0 <= START < STOP <= 1 and at most 9 decimals, such as [0.2, 1]; found [0.6, 0.2]",
    ),
    (
        BASE + "sampling: {guidance_interval: {uniform: [0, 1]}}\n",
        "@:5:31: sampling.guidance_interval: expected [START, STOP], fractions of the steps with "
        "0 <= START < STOP <= 1 and at most 9 decimals, such as [0.2, 1]; "
        'found {"uniform": [0, 1]}',
    ),
    (
        BASE + "sampling: {guidance_interval: [0.2, 1], guidance_scale: 1}\n",
        "@:5:31: sampling.guidance_interval: [0.2, 1] has no effect without a guidance scale above "
        "1; remove the interval (--guidance-interval or the key), or raise the scale",
    ),
    (
        BASE + "sampling: {guidance_interval: [0.45, 0.55], num_inference_steps: [2, 3]}\n",
        "@:5:31: sampling.guidance_interval: no step of 3 is in [0.45, 0.55], so that guidance "
        "would have no effect; use more steps or a longer interval",
    ),
    (
        BASE.replace("embedded", "black-forest-labs/FLUX.1-dev")
        + "sampling: {guidance_interval: [0.2, 1], guidance_scale: 3.5}\n",
        "@:5:31: sampling.guidance_interval: black-forest-labs/FLUX.1-dev is guided through an "
        "input of its network, without a second half of the batch; remove the interval "
        "(--guidance-interval or the key)",
    ),
    (
        BASE + "sampling: {num_inference_steps: 0}\n",
        "@:5:33: sampling.num_inference_steps: can be 0; the minimum is 1",
    ),
    (
        BASE + "sampling: {num_inference_steps: 2.5}\n",
        "@:5:33: sampling.num_inference_steps: expected integers, found 2.5",
    ),
    (BASE + "sampling: {seed: -1}\n", "@:5:18: sampling.seed: -1 must be at least 0"),
    (
        BASE + 'sampling: {seed: "1"}\n',
        "@:5:18: sampling.seed: expected an integer, found text '1'; remove the quotes",
    ),
    (
        BASE + "sampling: {noise: shard}\n",
        "@:5:19: sampling.noise: expected one of independent, shared, found text 'shard'; did you mean 'shared'?",
    ),
    (BASE + "output: {size: 0}\n", "@:5:16: output.size: 0 must be at least 1"),
    (BASE + "output: {size: [1, 2, 3]}\n", "@:5:16: output.size: expected 2 values, found 3"),
    (
        BASE + "output: {format: jpg}\n",
        "@:5:18: output.format: expected one of png, jpeg, webp, found text 'jpg'; did you mean 'jpeg'?",
    ),
    (
        BASE + "output: {format: webp, compression: fast}\n",
        "@:5:37: output.compression: applies to `format: png` only, but `format` is webp; remove it",
    ),
    (
        BASE + "output: {antialias: 1}\n",
        "@:5:21: output.antialias: expected true or false, found 1",
    ),
    (
        BASE + "output: {size: 8, resample: lanczos, antialias: false}\n",
        "@:5:49: output.antialias: lanczos always filters before shrinking; set antialias to true, remove it, or set resample to bilinear or bicubic",
    ),
    (
        BASE + "output: {size: 8, resample: area, antialias: false}\n",
        "@:5:46: output.antialias: area always filters before shrinking; set antialias to true, remove it, or set resample to bilinear or bicubic",
    ),
    (
        BASE + "output: {size: 8, resample: nearest, antialias: true}\n",
        "@:5:49: output.antialias: nearest never filters before shrinking; set antialias to false, remove it, or set resample to bilinear or bicubic",
    ),
    (
        BASE + "output: {size: 8, lanczos_version: 2}\n",
        "@:5:36: output.lanczos_version: applies to `resample: lanczos` only, but `resample` is bilinear; remove it",
    ),
    (
        'classes: [cat, no]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:16: classes.1: no is a boolean in YAML; quote it: 'no'",
    ),
    (
        'classes: [cat, 5]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:16: classes.1: 5 is a number in YAML; quote it: '5'",
    ),
    (
        'classes: [cat, cat]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:16: classes.1: label 'cat' occurs twice; remove one",
    ),
    (
        "name: Aux.2\n" + BASE,
        "@:1:7: name: 'Aux.2' is not a valid folder name on Windows, where the dataset may be "
        "downloaded; choose another name",
    ),
    (
        "name: photos.\n" + BASE,
        "@:1:7: name: 'photos.' is not a valid folder name on Windows, where the dataset may be "
        "downloaded; choose another name",
    ),
    (
        'classes: [cat, "cat\\u200b"]\nimages_per_class: 2\nprompt: "a {class}"\n'
        "model: {id: embedded}\n",
        "@:1:16: classes.1: 'cat\\u200b' contains the invisible character U+200B; remove it",
    ),
    (
        'classes: cifar11\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:10: classes: there is no class list 'cifar11'; did you mean 'cifar10'?",
    ),
    (
        'classes: []\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:10: classes: is an empty list; add at least one class",
    ),
    (
        'classes: [cat, {prompt: x}]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:16: classes.1: key 'label' is missing",
    ),
    (
        'classes: [cat, {label: dog, prompt: 5}]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:37: classes.1.prompt: must be text; quote it",
    ),
    (
        'classes: [cat, {label: dog, seed: 5}]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:29: classes.1.seed: 'seed' is the name of another column; choose another name",
    ),
    (
        'classes: [cat, {label: dog, sea: 5}]\nimages_per_class: 2\nprompt: "a {sea}"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: uses 'sea', a field that cat does not have; add it there, or a variable 'sea' for the rest",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {klass}"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: there is no variable 'klass'; did you mean 'class'?",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class.x}"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: {class.x} is not a name; write {class}",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class!r}"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: {class!r} is not a name; write {class}",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class:>5}"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: {class:>5} is not a name; write {class}",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {a[0]}"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: {a[0]} is not a name; write {a}",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {}"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: {} has no name; write {class} or the name of a variable",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class"\nmodel: {id: embedded}\n',
        "@:3:9: prompt: brace { is unmatched; write {{ for a literal brace",
    ),
    (
        'images_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:1: key 'classes' is missing; add the name of a class list, or labels",
    ),
    (
        "classes: [cat, dog]\nimages_per_class: 2\nmodel: {id: embedded}\n",
        "@:1:1: key 'prompt' is missing; add one such as \"a photo of a {class}\", or `combine` other recipes",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 0\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:2:19: images_per_class: 0 must be at least 1",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 1.5\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:2:19: images_per_class: expected an integer, found 1.5",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class}"\n\n',
        "@:1:1: key 'model' is missing; add one, such as {id: embedded}",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: ./nowhere}\n',
        "@:4:13: model.id: ./nowhere is not a directory; give a directory saved by a diffusers pipeline, or a Hub id",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: embedded\n',
        "@:4:8: model: expected a mapping, found text 'embedded'",
    ),
    (
        BASE + "variables: {prompt: [a]}\n",
        "@:5:13: variables.prompt: 'prompt' is the name of another column; choose another name",
    ),
    (
        BASE + "variables: {a-b: [a]}\n",
        "@:5:13: variables.a-b: 'a-b' is not a valid variable name; use letters, digits and _",
    ),
    (
        BASE + "variables: {a: [1, x]}\n",
        "@:5:16: variables.a: mixes number 1 and text 'x'; quote values that should be text",
    ),
    (
        BASE + "variables: {a: []}\n",
        "@:5:16: variables.a: is an empty list; add at least one value",
    ),
    (
        BASE + "variables: {a: [null]}\n",
        "@:5:17: variables.a.0: null is not a value; write '' for an empty text",
    ),
    (
        BASE + "variables: {a: {choice: {x: 0}}}\n",
        "@:5:29: variables.a.choice.x: 0 must be above 0",
    ),
    (
        BASE + "variables: {a: {choice: {x: -1, y: z}}}\n",
        "@:5:29: variables.a.choice.x: -1 must be above 0\n"
        "@:5:36: variables.a.choice.y: expected a number, found text 'z'",
    ),
    (
        BASE + "variables: {a: {per_class: {cow: [x]}, default: y}}\n",
        "@:5:29: variables.a.per_class.cow: there is no class 'cow'; known: cat, dog",
    ),
    (
        BASE + "variables: {a: {per_class: {cat: [x]}}}\n",
        "@:5:16: variables.a: has no values for dog; add `default`",
    ),
    (
        BASE + "variables: {a: {linked: [b], values: [[1]]}}\n",
        "@:5:16: variables.a: linked needs at least two names; write a single variable as a list",
    ),
    (
        BASE + "variables: {a: {linked: [b, c], values: [[1]]}}\n",
        "@:5:16: variables.a: row 1 of values has 1 values for 2 names (b, c); write one each",
    ),
    (
        BASE + "variables: {b: [1], a: {linked: [b, c], values: [[1, 2]]}}\n",
        "@:5:24: variables.a: 'b' is also defined by 'b'; rename one",
    ),
    (
        BASE + "variables: {a: {uniform: [1, 2], normal: {mean: 1, std: 1}}}\n",
        "@:5:34: variables.a.normal: conflicts with uniform; keep one of them",
    ),
    (
        BASE + "variables: {a: {normal: {meen: 1, std: 1}}}\n",
        "@:5:26: variables.a.normal.meen: unknown key; did you mean 'mean'?",
    ),
    (
        BASE + "variables: {a: {normal: {mean: 1, std: 0}}}\n",
        "@:5:40: variables.a.normal.std: 0 must be above 0",
    ),
    (
        BASE + "variables: {a: {truncated_normal: {mean: 0, std: 1, low: 90, high: 100}}}\n",
        "@:5:16: variables.a: a normal with mean 0 and std 1 has no values between 90 and 100; move the mean or the bounds",
    ),
    (
        BASE + "variables: {a: {loguniform: [0, 1]}}\n",
        "@:5:16: variables.a: low 0 must be above 0 for a logarithm",
    ),
    (
        BASE + "variables: {a: {integers: [1.5, 2]}}\n",
        "@:5:28: variables.a.integers.0: expected an integer, found 1.5",
    ),
    (
        BASE + "variables: {a: {uniform: [2, 2]}}\n",
        "@:5:16: variables.a: low and high are both 2; write 2 alone",
    ),
    (
        BASE + "variables: {a: {}}\n",
        "@:5:16: variables.a: an empty mapping is not a distribution; known: captions, choice, cycle, integers, linked, loguniform, normal, once, per_class, truncated_normal, uniform",
    ),
    (BASE + "variables: {a: {cycle: 5}}\n", "@:5:24: variables.a.cycle: expected a list, found 5"),
    (
        BASE + "extends: quickstart/base-clas\n",
        "@:5:10: extends: there is no recipe 'quickstart/base-clas'; did you mean 'quickstart/base-class'?",
    ),
    (
        BASE + "extends: r\n",
        "@:5:10: extends: the recipes extend each other in a circle: r -> r; remove one `extends`",
    ),
    ("combine: []\n", "@:1:10: combine: is an empty list; add at least one recipe"),
    (
        "combine: [r]\n",
        "@:1:11: combine.0: the recipes combine each other in a circle: r -> r; remove one member",
    ),
    (
        "combine: [quickstart/base-class]\nsampling: {seed: 1}\n",
        "@:2:1: sampling: a combination generates no images itself; set this in its members",
    ),
    (
        BASE + "name: a/b\n",
        "@:5:7: name: 'a/b' is not a valid name: it becomes a directory; use letters, digits, '.', '_' and '-', at most 100 characters",
    ),
    (BASE + "name: 5\n", "@:5:7: name: 5 is a number in YAML; quote it: '5'"),
    (
        "classes: [cat, dog]\nimages_per_class: 2\nprompt: 5\nmodel: {id: embedded}\n",
        "@:3:9: prompt: expected a text or a list of texts, found 5",
    ),
    (
        "classes: [cat, dog]\nimages_per_class: 2\nprompt: []\nmodel: {id: embedded}\n",
        "@:3:9: prompt: is an empty list; add at least one prompt",
    ),
    (
        "classes: [cat, dog]\nimages_per_class: 2\nprompt: [{txt: x}]\nmodel: {id: embedded}\n",
        "@:3:11: prompt.0.txt: unknown key; did you mean 'text'?",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: ""\nmodel: {id: embedded}\n',
        "@:3:9: prompt: is empty; write a prompt",
    ),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: [{text: "{x}", weight: 0}]\nmodel: {id: embedded}\n',
        "@:3:32: prompt.0.weight: 0 must be above 0",
    ),
    (
        BASE
        + "clases: 1\nsampling: {guidance_scale: {uniform: [5, 1]}, num_inference_steps: x}\nvariables: {a: {uniform: [5, 1]}, b: [1, x]}\n",
        "@:5:1: clases: unknown key; did you mean 'classes'?\n"
        "@:6:28: sampling.guidance_scale: low 5 is above high 1; swap them\n"
        "@:6:68: sampling.num_inference_steps: expected integers, found text 'x'\n"
        "@:7:16: variables.a: low 5 is above high 1; swap them\n"
        "@:7:38: variables.b: mixes number 1 and text 'x'; quote values that should be text",
    ),
    (
        "combine: [quickstart/base-class, quickstart/class-prompt]\nimages_per_class: 1000\n",
        "@:1:11: combine.0: takes 500 images per class of 'base-class', which has 100; lower images_per_class\n"
        "@:1:34: combine.1: takes 500 images per class of 'class-prompt', which has 100; lower images_per_class",
    ),
    (
        BASE + "rows: {r: 1}\n",
        "@:5:7: rows: lists images of the members of a combination; add `combine`",
    ),
    (
        "combine: [quickstart/base-class]\nrows: {base-class: '0-9, 10-x'}\n",
        "@:2:20: rows.base-class: '10-x' is no index or range; write e.g. 0-99, 104, 107-109",
    ),
    (
        "combine: [quickstart/base-class]\nrows: {base-class: [0-9, 5]}\n",
        "@:2:20: rows.base-class: 5: write each index once, in ascending order",
    ),
    (
        "combine: [quickstart/base-class]\nrows: {base-class: 0-99999999}\n",
        "@:2:20: rows.base-class: lists more than 10,000,000 images; list fewer",
    ),
    (
        "combine: [quickstart/base-class]\nrows: {base-class: []}\n",
        "@:2:20: rows.base-class: is an empty list; write e.g. 0-99, 104, 107-109",
    ),
    (
        "combine: [quickstart/base-class]\nrows: {}\n",
        "@:2:7: rows: is empty; list images of each member, or remove it",
    ),
    (
        "combine: [quickstart/base-class]\nrows: {base-class: 0-1000}\nimages_per_class: 100\n",
        "@:2:20: rows.base-class: takes image 1000 of 'base-class', which has 1,000 (from 0); list existing images\n"
        "@:3:19: images_per_class: conflicts with `rows`, which lists the images; remove it",
    ),
    (
        "combine: [quickstart/base-class, quickstart/class-prompt]\nrows: {base-class: 0-9, other: 0-9}\n",
        "@:2:7: rows: lists no images of 'class-prompt'; add them, or remove the member\n"
        "@:2:32: rows.other: no member is named 'other'; members: base-class, class-prompt",
    ),
    (
        "combine: [quickstart/base-class, quickstart/base-class]\n",
        "@:1:34: combine.1: 'base-class' occurs twice; remove one",
    ),
    (
        "combine: [quickstart/all-combined]\n",
        "@:1:11: combine.0: 'all-combined' is a combination; name its members",
    ),
    ("[" * 60 + "]" * 60, f"@:1:51: {TOO_DEEP}"),
    (
        BASE + "x: 1:30\n",
        "@:5:4: 1:30 would be read as an octal, binary or base-60 number; quote it",
    ),
    (
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
        "@:5:32: contains more than 100,000 values",
    ),
    ("x: \x00", "@: is not valid YAML: control characters are not allowed"),
    ("x: \x07", "@: is not valid YAML: control characters are not allowed"),
    (
        "combine: [quickstart/class-promt]\n",
        "@:1:11: combine.0: there is no recipe 'quickstart/class-promt'; did you mean 'quickstart/class-prompt'?",
    ),
    (
        BASE + "combine: [quickstart/base-class]\n",
        "@:5:1: combine: conflicts with `prompt`; keep one of them",
    ),
    (
        BASE + "sampling: {guidance_scale: 1e-4}\n",
        "@:5:28: sampling.guidance_scale: 1e-4 is text in YAML; write 1.0e-4",
    ),
    (
        BASE + "variables: {sea: [a]}\nnegative_prompt: '{see}'\n",
        "@:6:18: negative_prompt: there is no variable 'see'; did you mean 'sea'?",
    ),
    (BASE + "output: {sise: 3}\n", "@:5:10: output.sise: unknown key; did you mean 'size'?"),
    (
        'classes: [cat, dog]\nimages_per_clas: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:2:1: images_per_clas: unknown key; did you mean 'images_per_class'?",
    ),
    (BASE + "model2: 3\n", "@:5:1: model2: unknown key; did you mean 'model'?"),
    (
        'classes: [cat, dog]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {scheduler: DDIMScheduler}\n',
        "@:4:8: model: key 'id' is missing",
    ),
    (
        BASE + "sampling: {guidance_scale: {per_class: {cat: 1, doq: 2}}}\n",
        "@:5:28: sampling.guidance_scale: has no values for dog; add `default`\n"
        "@:5:49: sampling.guidance_scale.per_class.doq: there is no class 'doq'; did you mean 'dog'?",
    ),
    (
        BASE + "sampling: {num_inference_steps: {integers: [0, 5]}}\n",
        "@:5:33: sampling.num_inference_steps: can be 0; the minimum is 1",
    ),
    (
        BASE + "variables: {a: {uniform: [1, .nan]}}\n",
        "@:5:30: .nan is not a valid number; write a finite decimal number such as 7.5, or quote it",
    ),
    (
        BASE + "variables: {a: {per_class: {cat: 1, dog: x}}}\n",
        "@:5:16: variables.a: mixes int64 and string; all classes need values of one type",
    ),
    (
        'classes: [{label: cat, sea: 1}, {label: dog, sea: x}]\nimages_per_class: 2\nprompt: "a {class}"\nmodel: {id: embedded}\n',
        "@:1:29: classes.0.sea: mixes int64 and string; all classes need values of one type",
    ),
    (BASE + "summary: yes\n", "@:5:10: summary: yes is a boolean in YAML; quote it: 'yes'"),
    (
        BASE + "images_per_class: 3\n",
        "@:5:1: key 'images_per_class' occurs twice (line 2); remove one",
    ),
    (
        "extends: 5\n",
        "@:1:1: key 'classes' is missing; add the name of a class list, or labels\n"
        "@:1:1: key 'prompt' is missing; add one such as \"a photo of a {class}\", or `combine` other recipes\n"
        "@:1:1: key 'images_per_class' is missing; add a number\n"
        "@:1:1: key 'model' is missing; add one, such as {id: embedded}\n"
        "@:1:10: extends: 5 is a number in YAML; quote it: '5'",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_message(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        load_recipe("r.yaml")
    assert str(raised.value) == message.replace("@:", "r.yaml:")
    assert raised.value.exit_status == 2


def test_at_least_40_bad_recipes_are_tested() -> None:
    assert len(BAD) >= 40
    assert len({message for _, message in BAD}) >= 40
