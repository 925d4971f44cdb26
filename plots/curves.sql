-- Validation loss along training, by modality: FLOPs, seconds and loss of every measurement.
-- ?1: the workload; of several backends and precisions that of the newest run. Seed NULL is the
-- mean over seeds. The first tenth of the steps is left out, as in matching: every curve falls from
-- the same height there. plain and better are what the plainest predictors lose: one distribution for
-- all tokens of a modality, and one for each place of an image; where images are patches, and the loss
-- is a squared error, linear guesses from a patch, and from a whole image. "all" is shown only when it
-- is the only modality.
WITH newest AS (
  SELECT backend, precision FROM v_latest WHERE workload = ?1 ORDER BY run_id DESC LIMIT 1
),
point AS (
  SELECT c.modality, r.arch, r.seed, c.step, c.flops_model, c.train_s, c.value,
         r.backend || ' ' || r.precision AS condition,
         max(u.value) OVER (PARTITION BY c.modality) AS plain,
         max(p.value) OVER (PARTITION BY c.modality) AS better,
         max(u.metric = 'linear patch loss') OVER (PARTITION BY c.modality) AS squared,
         min(r.run_id) OVER (PARTITION BY r.arch) AS first
  FROM v_latest AS r JOIN newest USING (backend, precision) JOIN v_curve AS c USING (run_id)
  LEFT JOIN v_quality AS u ON u.run_id = r.run_id AND u.modality = c.modality
                              AND u.metric IN ('unigram loss', 'linear patch loss')
  LEFT JOIN v_quality AS p ON p.run_id = r.run_id AND p.modality = c.modality
                              AND p.metric IN ('position loss', 'linear image loss')
  WHERE r.workload = ?1 AND c.split = 'val' AND c.metric = 'loss' AND c.value IS NOT NULL
    AND c.step * 10 >= r.steps
),
shown AS (
  SELECT * FROM point
  WHERE modality <> 'all' OR NOT EXISTS (SELECT 1 FROM point WHERE modality <> 'all')
)
SELECT * FROM (
  SELECT modality, arch, seed, flops_model, train_s, value, condition, plain, better, squared,
         first, step
  FROM shown
  UNION ALL
  SELECT modality, arch, NULL, avg(flops_model), avg(train_s), avg(value), condition, plain,
         better, squared, first, step
  FROM shown GROUP BY modality, arch, step
)
ORDER BY modality <> 'text', modality <> 'image', modality <> 'speech', modality,
         arch <> 'dense', first, seed, step;
