-- The views: what other programs, plots and the paper read. Names and columns are promises.
-- Made again whenever this file is not the one that a database was last opened with.

-- The pace of every run: kept for those that ended, computed for those still going.
CREATE VIEW v_pace AS
  SELECT run AS run_id, step_s FROM pace
  UNION ALL
  SELECT run, avg(wall_ns) / 1e9
  FROM (
    SELECT s.run, s.wall_ns,
           row_number() OVER (PARTITION BY s.run ORDER BY s.wall_ns) AS i,
           count(*) OVER (PARTITION BY s.run) AS n
    FROM run AS r CROSS JOIN step AS s ON s.run = r.id -- runs outside: never all steps
    WHERE s.flagged = 0 AND NOT EXISTS (SELECT 1 FROM pace WHERE pace.run = r.id)
  )
  WHERE i IN ((n + 1) / 2, (n + 2) / 2)
  GROUP BY run;

-- train_s is the wall clock of all training steps; step_s the median undisturbed step, and
-- tokens_per_s goes with it, so that a busy machine does not decide. memory_bytes is the most that
-- the run held, memory_predicted_bytes what the formulas say. graph, attention and grouping are what
-- was asked of a GPU; NULL in runs from before there was a choice. build, machine, dataset and
-- settings point into v_fact.
CREATE VIEW v_run AS
  SELECT r.id AS run_id, r.uuid, r.workload, r.arch, r.seed, r.backend, r.precision,
         e.status, e.detail,
         (SELECT checkpoint FROM event WHERE run = r.id AND checkpoint IS NOT NULL
          ORDER BY id DESC LIMIT 1) AS checkpoint,
         r.params_total, r.params_active,
         coalesce(s.step, 0) AS steps, r.steps AS steps_planned,
         coalesce(s.tokens_sum, 0) AS tokens,
         coalesce(s.flops_model_sum, 0.0) AS flops_model,
         coalesce(s.flops_useful_sum, 0.0) AS flops_useful,
         coalesce(s.flops_executed_sum, 0.0) AS flops_executed,
         coalesce(s.wall_ns_sum, 0) / 1e9 AS train_s,
         p.step_s,
         s.tokens_sum / (s.step * p.step_s) AS tokens_per_s,
         (SELECT max(peak_bytes) FROM memory WHERE run = r.id) AS memory_bytes,
         (SELECT max(predicted_bytes) FROM memory WHERE run = r.id) AS memory_predicted_bytes,
         (SELECT value FROM fact WHERE fact_set = r.settings AND key = 'gpu.graph') AS graph,
         (SELECT value FROM fact WHERE fact_set = r.settings AND key = 'gpu.attention')
           AS attention,
         (SELECT value FROM fact WHERE fact_set = r.settings AND key = 'gpu.grouping') AS grouping,
         r.device, r.build, r.machine, r.dataset, r.settings, r.job, r.purpose, e.pid,
         strftime('%Y-%m-%d %H:%M:%S', b.at_ns / 1000000000, 'unixepoch') AS begun,
         strftime('%Y-%m-%d %H:%M:%S', e.at_ns / 1000000000, 'unixepoch') AS changed
  FROM run AS r
  JOIN event AS b ON b.id = (SELECT min(id) FROM event WHERE run = r.id)
  JOIN event AS e ON e.id = (SELECT max(id) FROM event WHERE run = r.id)
  LEFT JOIN step AS s ON s.run = r.id AND s.step = (SELECT max(step) FROM step WHERE run = r.id)
  LEFT JOIN v_pace AS p ON p.run_id = r.id;

-- The runs that count: of equal (workload, arch, seed, backend, precision) the newest that trained
-- and is ok.
CREATE VIEW v_latest AS
  SELECT * FROM v_run
  WHERE run_id IN (SELECT max(run_id) FROM v_run WHERE status = 'ok' AND purpose = 'train'
                   GROUP BY workload, arch, seed, backend, precision);

-- Cumulative tokens, FLOPs and time at each value: train_s is steps times the median undisturbed
-- step, train_wall_s the wall clock as it was. (CROSS JOIN fixes the order: series first, so that
-- asking for one split never reads the others.)
CREATE VIEW v_curve AS
  SELECT v.run AS run_id, v.step, q.split, q.modality, q.metric, v.value, v.n,
         iif(v.step = 0, 0, s.tokens_sum) AS tokens,
         iif(v.step = 0, 0.0, s.flops_model_sum) AS flops_model,
         v.step * p.step_s AS train_s,
         iif(v.step = 0, 0.0, s.wall_ns_sum / 1e9) AS train_wall_s
  FROM series AS q CROSS JOIN value AS v ON v.series = q.id
  LEFT JOIN step AS s ON s.run = v.run AND s.step = v.step
  LEFT JOIN v_pace AS p ON p.run_id = v.run;

-- The last value of every series of every run.
CREATE VIEW v_final AS
  SELECT r.id AS run_id, q.split, q.modality, q.metric, v.step, v.value, v.n
  FROM run AS r CROSS JOIN series AS q CROSS JOIN value AS v
  ON v.run = r.id AND v.series = q.id
     AND v.step = (SELECT max(step) FROM value WHERE run = r.id AND series = q.id);

CREATE VIEW v_step AS
  SELECT run AS run_id, step, wall_ns / 1e9 AS wall_s, cpu_ns / 1e9 AS cpu_s, tokens, flagged,
         flops_model, flops_useful, flops_executed
  FROM step;

-- layer and group are -1 where an operation has none; wall_s is NULL unless traced, gpu_s unless a
-- GPU did it: of an operation of several groups, each has its share of the executed FLOPs, or an
-- equal one where there are none.
CREATE VIEW v_op AS
  WITH o AS (
    SELECT run, op, part, layer, pass, "group", sum(calls) AS calls, sum(wall_ns) / 1e9 AS wall_s,
           total(flops_model) AS flops_model, total(flops_useful) AS flops_useful,
           total(flops_executed) AS flops_executed, total(flops_vector) AS flops_vector,
           total(bytes) AS bytes
    FROM op GROUP BY run, op, part, layer, pass, "group"
  ),
  k AS (
    SELECT run, op, part, layer, pass, sum(gpu_ns) / 1e9 AS gpu_s
    FROM kernel GROUP BY run, op, part, layer, pass
  )
  SELECT o.run AS run_id, o.op, o.part, o.layer, o.pass, o."group", o.calls, o.wall_s,
         o.flops_model, o.flops_useful, o.flops_executed, o.flops_vector, o.bytes,
         k.gpu_s * coalesce(
           o.flops_executed / nullif(sum(o.flops_executed) OVER same, 0), 1.0 / count(*) OVER same
         ) AS gpu_s
  FROM o LEFT JOIN k ON k.run = o.run AND k.op = o.op AND k.part = o.part
                        AND k.layer = o.layer AND k.pass = o.pass
  WINDOW same AS (PARTITION BY o.run, o.op, o.part, o.layer, o.pass);

-- What a GPU did for the operations of a profiled run, over as many steps as were traced. Outside of
-- operations part is ''; of op 'launch gaps', gpu_s is time in which it did nothing.
CREATE VIEW v_kernel AS
  SELECT run AS run_id, op, part, layer, pass, name AS kernel, calls, gpu_ns / 1e9 AS gpu_s, bytes
  FROM kernel;

CREATE VIEW v_overhead AS
  SELECT run AS run_id, kind, count(*) AS n, sum(wall_ns) / 1e9 AS wall_s
  FROM overhead
  GROUP BY run, kind;

-- slope: what the arch needed of the baseline's FLOPs or time to reach the same losses; NULL and
-- reached = 0 when it never reached the baseline's last one. The newest comparison only.
CREATE VIEW v_to_match AS
  SELECT workload, arch, baseline, modality, metric, split, "by", slope, ci_lo, ci_hi, n_seeds,
         reached, backend, precision
  FROM match
  JOIN (SELECT workload, arch, baseline, max(comparison) AS comparison
        FROM match GROUP BY workload, arch, baseline)
  USING (workload, arch, baseline, comparison);

-- Finished runs that were made to be profiled. Their steps are timed or traced, never both: steps,
-- step_s (the median of the undisturbed ones, or of all when there are none) and the counts of
-- tokens and FLOPs in a step are of those that were timed; traced_s is of a traced one. fma and
-- product (FLOP/s) and triad (B/s) are what was measured as the most that the machine can do;
-- datasheet (FLOP/s) what a GPU's maker says;
-- counted is the executed FLOPs of the steps whose counts would have disturbed timed ones, if any.
CREATE VIEW v_profile AS
  WITH timed AS (
    SELECT s.run, s.wall_ns, s.flagged,
           row_number() OVER (PARTITION BY s.run ORDER BY s.wall_ns) AS i,
           count(*) OVER (PARTITION BY s.run) AS n
    FROM run AS r CROSS JOIN step AS s ON s.run = r.id
    WHERE r.purpose = 'profile' AND s.flagged <> 2
  ),
  middle AS (
    SELECT run, avg(wall_ns) / 1e9 AS step_s FROM timed
    WHERE i IN ((n + 1) / 2, (n + 2) / 2) GROUP BY run
  ),
  counted AS (
    SELECT run, count(*) AS steps, sum(flagged) AS disturbed, avg(tokens) AS tokens,
           avg(flops_model) AS flops_model, avg(flops_useful) AS flops_useful,
           avg(flops_executed) AS flops_executed
    FROM step WHERE flagged <> 2 GROUP BY run
  ),
  traced AS (
    SELECT run, count(*) AS traced_steps, sum(wall_ns) AS traced_ns
    FROM overhead WHERE kind = 'traced' GROUP BY run
  ),
  given AS (
    SELECT run, max(iif(event = 'len', value, NULL)) AS len,
           max(iif(event = 'width', value, NULL)) AS width,
           max(iif(event = 'layers', value, NULL)) AS layers,
           max(iif(event = 'threads', value, NULL)) AS threads,
           max(iif(event = 'params', value, NULL)) AS params,
           max(iif(event = 'fma', value, NULL)) AS fma,
           max(iif(event = 'product', value, NULL)) AS product,
           max(iif(event = 'triad', value, NULL)) AS triad,
           max(iif(event = 'datasheet', value, NULL)) AS datasheet,
           max(iif(event = 'graphs', value, NULL)) AS graphs,
           max(iif(event = 'counted', value, NULL)) AS counted
    FROM counter WHERE source IN ('model', 'ceiling') GROUP BY run
  )
  SELECT r.run_id, r.workload, r.arch, r.seed, r.backend, r.precision, r.device, g.threads, s.steps,
         s.disturbed, coalesce(r.step_s, m.step_s) AS step_s, s.tokens, s.flops_model,
         s.flops_useful, s.flops_executed, t.traced_steps, t.traced_ns,
         t.traced_ns / 1e9 / t.traced_steps AS traced_s, g.len, g.width, g.layers, g.params,
         g.fma, g.product, g.triad, g.datasheet, g.graphs, g.counted
  FROM v_run AS r JOIN counted AS s ON s.run = r.run_id JOIN middle AS m ON m.run = r.run_id
  JOIN traced AS t ON t.run = r.run_id JOIN given AS g ON g.run = r.run_id
  WHERE r.purpose = 'profile' AND r.status = 'ok';

-- The operations of profiled runs over all traced steps, and what of these steps is outside of any
-- operation (part NULL): wall_ns adds up to traced_ns exactly.
CREATE VIEW v_profile_op AS
  SELECT p.run_id, p.traced_steps AS steps, o.op, o.part, o.layer, o.pass, o."group", o.calls,
         o.wall_ns, o.flops_model, o.flops_useful, o.flops_executed, o.flops_vector, o.bytes
  FROM v_profile AS p JOIN op AS o ON o.run = p.run_id
  UNION ALL
  SELECT p.run_id, p.traced_steps, 'outside operations', NULL, NULL, NULL, NULL, NULL,
         p.traced_ns - (SELECT sum(wall_ns) FROM op WHERE run = p.run_id),
         NULL, NULL, NULL, NULL, NULL
  FROM v_profile AS p;

-- What was measured of a run's model beside its losses, each the newest time; workloads/README.md says
-- what the metrics are. bound is what the value can be held against: a ceiling or floor that no model
-- can pass but by luck, or a baseline that one should pass.
CREATE VIEW v_quality AS
  SELECT run AS run_id, metric, modality, split, value, n, bound, bound_is, how
  FROM quality AS q
  WHERE measurement = (SELECT max(measurement) FROM quality
                       WHERE run = q.run AND metric = q.metric AND modality = q.modality
                         AND split = q.split);

CREATE VIEW v_counter AS
  SELECT run AS run_id, source, event, status, value, unit FROM counter;

CREATE VIEW v_judgement AS
  SELECT cell, metric, verdict, ratio, ci_lo, ci_hi, reason,
         strftime('%Y-%m-%d %H:%M:%S', at_ns / 1000000000, 'unixepoch') AS at
  FROM judgement;

CREATE VIEW v_fact AS
  SELECT f.id AS fact_set, f.kind, fact.key, fact.value
  FROM fact_set AS f JOIN fact ON fact.fact_set = f.id;
