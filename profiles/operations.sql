-- The operations of a profiled run (?1), and last what is outside of them: wall_ns adds up to the
-- traced steps exactly. Layers are summed unless ?2 is '1'. Sums over all traced steps, then means
-- of one. Rates count executed products and vector arithmetic alike.
SELECT op, part, layer, pass, "group", steps, calls, wall_ns, flops_model, flops_useful,
       flops_executed, flops_vector, bytes, calls * 1.0 / steps, wall_ns / 1e6 / steps,
       wall_ns * 100.0 / sum(wall_ns) OVER (), flops_model * 1.0 / steps,
       flops_useful * 1.0 / steps, flops_executed * 1.0 / steps,
       (flops_executed + flops_vector) * 1.0 / nullif(wall_ns, 0), bytes * 1.0 / steps,
       bytes * 1.0 / nullif(wall_ns, 0), (flops_executed + flops_vector) * 1.0 / nullif(bytes, 0)
FROM (
  SELECT op, part, iif(?2 = '1', layer, NULL) AS layer, pass, "group", min(steps) AS steps,
         sum(calls) AS calls, sum(wall_ns) AS wall_ns, sum(flops_model) AS flops_model,
         sum(flops_useful) AS flops_useful, sum(flops_executed) AS flops_executed,
         sum(flops_vector) AS flops_vector, sum(bytes) AS bytes
  FROM v_profile_op WHERE run_id = ?1
  GROUP BY op, part, iif(?2 = '1', layer, NULL), pass, "group"
)
ORDER BY part IS NULL, wall_ns DESC, op, part, layer, pass, "group";
