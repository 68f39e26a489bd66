"""Experiments around the package, which uses nothing of them: measurements, the priors, the earlier systems.

The table of the earlier systems, in the order of work: `pictures` (what a picture and a data set are); data sets from
bursts, from pairs and from clean pictures in `burst_pictures`, `pair_pictures` and `procedural_noise`; `systems/`, one
file each; `training` (one loop, one budget); `scoring`; `rows`; `entries` (which rows there are); `crops` and
`paper_figures`; `table`, the command. Beside it: `tiles` and `noisy_batches` (what two of the sources did with their
data), `chunks`, `pair_figures`, `quantisation`, `webcam_clips`.

The package's networks: `random_scenes` through `random_cameras`, answered by a `teacher` or not, train the priors in
`train_prior`; `train_low_bands`; `sample_folder` keeps samples. Measurements: `bench_quality` and `bench_speed`, drawn
together by `quality_over_time`; `bench_pictures`, `bench_training`, `bench_session`; `bench_calibration` on
`simulated_sensors`; `fixed_pattern_scores`; `interop` (what other programs make of our DNGs). For all of them,
`data_folder` says where the pictures are, and `timing` times. What was found is in RESULTS.md, LOG.md (by date) and
DECISIONS.md.
"""
