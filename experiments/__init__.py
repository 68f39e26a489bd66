"""Experiments around the package, which uses nothing of them: measurements, the prior's training, the earlier systems.

The table of the earlier systems, in the order of work: `pictures` (what a picture and a data set are); data sets from
bursts, from pairs and from clean pictures in `burst_pictures`, `pair_pictures` and `procedural_noise`; `systems/`, one
file each; `training` (one loop, one budget); `scoring`; `rows`; `entries` (which rows there are); `paper_figures`;
`table`, the command. Beside it: `tiles` and `noisy_batches` (what two of the sources did with their data), `chunks`,
`pair_figures`, `quantisation`, `webcam_clips`.

Of the package itself: `bench_quality`, `bench_session`, `bench_speed`, `train_prior` with `random_cameras`. What was
found is in RESULTS.md, LOG.md (by date) and DECISIONS.md.
"""
