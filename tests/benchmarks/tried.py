"""Changes that were measured and are not used: part of the page, in Markdown."""

CPU = """\
**Other ways to compute the UNet.** Figures: CPU time of the UNet, divided by that of the UNet as a
build computes it (below 1 is faster); median and quartiles of the pairs; one thread.

- bfloat16: 20 pairs, an Intel Xeon with AMX, other work on the machine;
  `python -m tests.benchmarks.network_variants --dtype bfloat16 --rounds 20`
- float32: 15 pairs, an AMD EPYC with AVX2, a quiet machine;
  `python -m tests.benchmarks.network_variants --dtype float32 --rounds 15`

| variant | bfloat16 | float32 | not used because |
|---|---:|---:|---|
| unchanged | 1.00 [0.97, 1.13] | 0.98 [0.88, 1.03] | shows the noise |
| weights of convolutions packed once | 1.00 [0.84, 1.10] |  | no gain found |
| one product for queries, keys and values | 1.03 [0.91, 1.19] | 1.02 [0.99, 1.05] | no gain found |
| projections of the text once per image | 0.98 [0.86, 1.13] | 0.97 [0.93, 1.03] | no clear gain |
| group norm in float32 | 0.86 [0.83, 0.98] |  | perhaps faster, but other bytes |
| group norm in contiguous order | 0.94 [0.86, 1.00] | 1.05 [1.01, 1.15] | other bytes |
| all layers in contiguous order | 0.93 [0.86, 1.01] | 1.22 [1.16, 1.25] | other bytes |
| Winograd's F(4x4, 3x3) |  | 0.93 [0.89, 0.98] | too small a gain for other bytes |

*Other bytes*: the outputs differ, so datasets would have other bytes. *Winograd*: for the 3x3
convolutions of 128 and more channels, built of torch's batched products. Outputs of at most 4
differ by up to 2e-5. Of single layers (measured once under load, by a script that was not kept),
maps of 4 x 4 take 0.54 to 0.70 of the time, and maps of 8 x 8 from 192 and more channels 0.64 to
0.74; F(2x2, 3x3) takes 0.85 to 1.7.

**Other settings of the libraries.** Figures: CPU time of the UNet per image, divided by that of
batches of 32; 12 pairs, float32, the same EPYC. Measured once under load, by scripts that were not
kept. The same again has 0.92 [0.87, 1.01], so smaller differences mean nothing. None of these
shows a gain; batches of 64, at 0.90, have quartiles up to 1.02.

- **Other batch sizes** - 8 images 1.18 [1.14, 1.51], 16 images 1.08 [0.99, 1.20], 64 images 0.90
  [0.83, 1.02].
- **Linear layers by oneDNN instead of MKL** - 0.97 [0.92, 1.05].
- **Linear layers with weights packed for MKL** - 0.98 [0.91, 1.03].
- **Denormals flushed to zero** - 0.96 [0.92, 1.10].
- **Huge pages of glibc** - 0.98 [0.95, 1.03].
- **oneDNN's products in bfloat16** - 1.03 [0.93, 1.16].
- **The allocator's settings of `train`** - save nothing, because batches of 32 take no new pages
  from the system.

**A faster start.** CPU time of the command to the first ten images, 16.3 s in all: one run, other
work on the machine, times of the process between imports.

| part | CPU s |
|---|---:|
| other imports and the model's files | 6.7 |
| torch | 2.7 |
| first batch | 2.5 |
| `torch._dynamo`, which transformers always imports | 2.2 |
| card and plots (plots are in another process now) | 0.9 |
| all else | 1.3 |

- **Import only the modules that are used** - saves nothing. The packages that contain them import
  all autoencoders and transformers anyway.
- **Leave out peft and scipy** - diffusers has no setting for this where they are installed.
- **End the process without Python's shutdown** - would save 0.6 s (three runs), but would
  also skip what libraries do at the end.
"""

OVERHEAD = """\
All but the last on a busy machine. Unless an item says otherwise, figures are CPU µs per image, the
lowest of several rounds.

- **A faster PNG encoder** - other bytes. Of 191 µs, 162 are Pillow's compression, about half of it
  the choice of filters.
- **Python's zlib for the filtered rows** - 78 µs, with the same bytes here, but elsewhere Pillow
  may come with another zlib. (This and the item above: 60 rounds in turn; `encode_image`,
  `Image.tobytes('zip', ('RGB', False, 6, -1, b''))` and
  `zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)`, for the 64 images of
  `ready_images()` in `tests/benchmarks/parts.py`.)
- **Filters chosen by numpy for a batch, then Python's zlib** - no gain: 192 and 203 µs (67 and 77
  of them for the filters), `encode_image` 202 and 197; the same bytes here. (80 rounds in turn, two
  runs.)
- **Other ways from pixels to Pillow** - little to gain. Of 182 µs of `encode_image`, 163 are
  compression, 11 `Image.frombytes`, which only private functions avoid, and 3 the PNG's frame. (60
  rounds.)
- **Encoding without tasks** - slower: 222 µs, with them 215. (`generate_rows` of 512 ready images,
  40 rounds in turn.)
- **No garbage collection** - no clear gain: 0.289, 0.372 and 0.403 ms of marginal CPU time per
  image, with it 0.346, 0.308 and 0.331 ms. (Three pairs.)
- **Fewer imports at the start** - the build uses what is left. Of 3.1 s of CPU time of 1,000
  images, imports took 1.8: matplotlib 0.6, this project 0.3, numpy 0.2, pydantic 0.1, and others.
  Plotting took 0.3 more; it is in another process now, with matplotlib. (One run.)
- **Formulas turned off for all labels at once** (`rc_context`) - slower: 0.35 s, one by one 0.33 s.
  (12 rounds.)
"""

READING = """\
- **Columns compared with the plan as Arrow arrays** - slower: 1.77 CPU µs per row, as lists 1.64
  (medians of 40 rounds in turn). pyarrow then also imports pandas.
- **A faster check of small PNG files** - little to gain: of 23.6 CPU µs per image, 18.5 are zlib's
  decompression (lowest of 60 rounds in turn, other work on the machine).
- **Parts of the file compared in place** - no gain: 22.6 CPU µs, with a copy 22.3 (lowest of 100
  rounds in turn, busy machine).
- **Fewer imports** - those left are needed. The first `verify` of a process takes 0.18 s of CPU
  time for imports, mostly pyarrow and numpy's random numbers (three runs). A large dataset takes no
  more than a small one.
"""
