-- Operations of the newest profile of every architecture of a workload (?1): what they do (executed
-- products and vector arithmetic) against what they move, summed over layers and groups, with the
-- ceilings that were measured in the same turn. Operations that compute nothing have no place in a
-- logarithmic figure; `moved` is their share of the time, in per cent, and that outside operations.
WITH newest AS (
  SELECT * FROM v_profile
  WHERE run_id IN (SELECT max(run_id) FROM v_profile WHERE workload = ?1 GROUP BY arch)
),
operation AS (
  SELECT run_id, op, part, pass, sum(wall_ns) AS ns, total(bytes) AS bytes,
         total(flops_executed) + total(flops_vector) AS flops
  FROM v_profile_op WHERE run_id IN (SELECT run_id FROM newest)
  GROUP BY run_id, op, part, pass
),
share AS (
  SELECT *, ns * 100.0 / sum(ns) OVER (PARTITION BY run_id) AS percent,
         sum(iif(flops > 0, 0, ns)) OVER (PARTITION BY run_id) * 100.0
           / sum(ns) OVER (PARTITION BY run_id) AS moved
  FROM operation
)
SELECT arch, part, pass, op || ' ' || pass AS label, flops / bytes AS intensity,
       flops / ns AS gflops_per_s, percent, moved, fma / 1e9, product / 1e9, triad / 1e9,
       backend || ' ' || precision || ', threads: ' || CAST(threads AS INTEGER) AS condition
FROM share JOIN newest USING (run_id)
WHERE flops > 0 AND bytes > 0 AND ns > 0
ORDER BY arch <> 'dense', run_id, percent DESC;
