#!/bin/sh
# Images as patches behind noise from end to end on made-up data: prepare, train every architecture, read the
# losses, match them, sample and measure quality.
set -u
. "$PWD/tests/e2e.lib"
export OMP_NUM_THREADS=1

patches() { # DATABASE ARGUMENT...
    db=$1
    shift
    "$MOTBENCH" run "$home/workloads/smoke-transfusion.ini" --db "$db" --quiet --threads 1 "$@" \
        >"$work/out" 2>"$work/err"
}
both() { # DATABASE: every run has learnt something of text (nats) and of images (squared error: 1 when nothing)
    [ "$(sqlite3 "$1" "SELECT count(DISTINCT run_id) || ' ' || count(*) ||
                              ' ' || sum(value IS NULL OR value > CASE modality WHEN 'image' THEN 0.95 ELSE 4.5 END)
                       FROM v_curve WHERE step = 30 AND metric = 'loss' AND modality <> 'all'
                       AND split = 'val'")" = "4 8 0" ]
}
objective() { # DATABASE: what training minimises is text + 5 x image
    [ "$(sqlite3 "$1" "SELECT max(abs(a.value - t.value - 5 * i.value)) < 1e-6 FROM v_curve a
                       JOIN v_curve t USING (run_id, step, split, metric)
                       JOIN v_curve i USING (run_id, step, split, metric)
                       WHERE a.modality = 'all' AND t.modality = 'text' AND i.modality = 'image'
                       AND metric = 'loss'")" = "1" ]
}
equal_flops() { # DATABASE: Mixture-of-Transformers asks for what dense does
    [ "$(sqlite3 "$1" "SELECT count(DISTINCT flops_model) FROM v_run WHERE arch IN ('dense', 'mot')")" = 1 ]
}
matched() { # DATABASE: a row for images and one for text, of each architecture
    "$MOTBENCH" cmp --db "$1" --format csv >"$work/out" 2>"$work/err" &&
        [ "$(sqlite3 "$1" "SELECT count(DISTINCT arch || modality) FROM v_to_match
                           WHERE modality IN ('text', 'image') AND arch <> 'dense'")" = 6 ]
}

holds "transfusion runs" patches a.db
holds "it measures text and images" both a.db
holds "it minimises both" objective a.db
holds "mot costs what dense costs" equal_flops a.db
holds "it runs again" patches b.db
holds "to the same bits" same_curves a.db b.db
holds "curves of both are matched" matched a.db
holds "v can be predicted" patches v.db -a dense -S model.prediction=v
holds "patches go through a U-Net" patches u.db -S model.patch_coder=unet -S model.unet_channels=8
holds "which learns both" both u.db
holds "at equal cost" equal_flops u.db
holds "it is made again in the backward" patches w.db -S model.patch_coder=unet -S model.unet_channels=8 \
    -S model.recompute=layer
holds "to the same bits" same_curves u.db w.db
holds "micro-batches add up" patches m.db -a mot -S workload.accumulate=2 -S workload.batch=2
# ---- samples and quality
samples() { # ARGUMENT...
    "$MOTBENCH" generate "$@" --db a.db --threads 1 >"$work/out" 2>"$work/err"
}
quality() { # ARGUMENT...
    "$MOTBENCH" quality "$@" --db a.db --threads 1 --samples 24 --documents 24 --sampler-steps 4 --format csv \
        >"$work/out" 2>"$work/err"
}
ask() { # QUERY
    sqlite3 a.db "$1"
}
plotted() {
    "$MOTBENCH" plot curves --db a.db -o curves.svg >"$work/out" 2>"$work/err"
}
of_run() { # DATABASE
    "$MOTBENCH" generate 1 --db "$1" --threads 1 -n 2 --sampler-steps 2 -o of >"$work/out" 2>"$work/err"
}
is_grid() { # FILE: a PNG, or this build cannot write any
    [ ! -e "$1" ] || [ "$(head -c 4 "$1" | tail -c 3)" = PNG ]
}

for run in 1 3 4; do
    holds "run $run answers prompts" samples $run -n 5 --sampler-steps 4
done
holds "with texts for both directions" [ "$(ls a.samples/4/*.txt | wc -l)" = 2 ]
holds "and grids" is_grid a.samples/4/text-image.png
holds "the sampler is named" grep -q 'ddim, 4 steps, guidance 1' a.samples/4/text-image.txt
holds "the same seed gives the same files" samples 4 -n 5 --sampler-steps 4 -o again
holds "indeed" diff -r a.samples/4 again
holds "no matter how many at once" samples 4 -n 5 --sampler-steps 4 --at-once 2 -o other
holds "indeed not" diff -r again other
for other in '--seed 2' '--sampler ddpm' '--guidance 3' '--sampler-steps 5'; do
    # shellcheck disable=SC2086
    holds "$other is taken" samples 4 -n 5 --sampler-steps 4 --answer image $other -o other
    if [ -e other/text-image.png ]; then
        holds "$other gives other images" [ "$(cmp -s again/text-image.png other/text-image.png; echo $?)" = 1 ]
    fi
done
holds "speeds and memory are in the database" [ "$(ask "SELECT group_concat(metric || ' ' || modality, ', ')
    FROM (SELECT metric, modality FROM v_quality WHERE run_id = 1 AND how LIKE '%at once%' AND value > 0
    ORDER BY 1, 2)")" = "cache_bytes text, decode_tokens_per_s image, decode_tokens_per_s text, \
generate_bytes image, generate_bytes text, prefill_tokens_per_s text" ]
holds "quality is measured" quality 1 3 4
holds "of every architecture the same, each with a bound" [ "$(ask "SELECT count(DISTINCT n) || ' ' || sum(bare) FROM
    (SELECT count(*) AS n, sum(bound_is IS NULL) AS bare FROM v_quality WHERE how LIKE '%documents%'
    GROUP BY run_id)")" = "1 0" ]
holds "of both parts" [ "$(ask "SELECT sum(metric LIKE 'loss given %') || ' ' || sum(metric LIKE 'gain%') || ' ' ||
    sum(metric LIKE 'recall%') || ' ' || sum(metric LIKE 'bits per%') FROM v_quality
    WHERE run_id = 1 AND how LIKE '%documents%'")" = "4 4 4 0" ]
holds "losses are those of validation, but for noise and documents" [ "$(ask "SELECT abs(q.value - c.value) < 0.1
    FROM v_quality q JOIN v_curve c USING (run_id, modality) WHERE run_id = 1 AND q.metric = 'loss given text'
    AND c.step = 30 AND c.split = 'val' AND c.metric = 'loss' AND modality = 'image'")" = 1 ]
holds "images of patches are told apart" [ "$(ask "SELECT min(bound) > 0.9 FROM v_quality
    WHERE metric LIKE 'recall at 1 given image'")" = 1 ]
cp "$work/out" first.csv
holds "it is measured again" quality 1 3 4
holds "to the same numbers" cmp "$work/out" first.csv
holds "linear guesses are there of every run, counts of texts alone" [ "$(ask "SELECT group_concat(DISTINCT metric ||
    ' ' || modality) || ' ' || count(*) FROM v_quality WHERE metric LIKE 'linear%' OR metric LIKE 'unigram%'
    ORDER BY 1")" = "linear patch loss image,unigram loss text 8" ]
holds "curves are drawn with them" plotted
holds "they are in the figure" grep -q 'linear in a patch' curves.svg
holds "samples of v come, too" of_run v.db
holds "and through a U-Net" of_run u.db
refuses 64 'sampler euler: expected ddim or ddpm' "$MOTBENCH" generate 1 --db a.db --sampler euler
refuses 64 'sampler-steps 0: expected' "$MOTBENCH" quality 1 --db a.db --sampler-steps 0
refuses 64 'sampler-steps 1001: expected' "$MOTBENCH" generate 1 --db a.db --sampler-steps 1001
refuses 64 'guidance much: expected' "$MOTBENCH" generate 1 --db a.db --guidance much

# ---- what is wrong
refuses 1 "expected kind = transfusion" train c.db -S workload.data=procedural-patches
refuses 1 "has no speech, expected kind = chameleon$" "$MOTBENCH" run "$home/workloads/smoke-transfusion.ini" \
    --db c.db --quiet -S workload.data=procedural
refuses 64 "drop_caption" "$MOTBENCH" run "$home/workloads/smoke-transfusion.ini" --db c.db -S workload.drop_caption=2
refuses 1 "patch_side.: found 3, expected a power of two" patches c.db -S model.patch_coder=unet -S model.patch_side=3
refuses 1 "patch_side.: found 8, .* has patches of 16 numbers" patches c.db -S model.patch_coder=unet -S model.patch_side=8
refuses 1 "patch_channels = 3" patches c.db -S model.patch_channels=3
refuses 64 "patch_weight" "$MOTBENCH" run "$home/workloads/smoke-transfusion.ini" --db c.db -S model.patch_weight=0
finish
