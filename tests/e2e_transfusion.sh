#!/bin/sh
# Images as patches behind noise from end to end on made-up data: prepare, train every architecture, read the
# losses, match them.
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
refuses 1 "expected kind = transfusion" train c.db -S workload.data=procedural-patches
refuses 1 "has no speech, expected kind = chameleon$" "$MOTBENCH" run "$home/workloads/smoke-transfusion.ini" \
    --db c.db --quiet -S workload.data=procedural
refuses 64 "drop_caption" "$MOTBENCH" run "$home/workloads/smoke-transfusion.ini" --db c.db -S workload.drop_caption=2
refuses 1 "patch_side.: found 3, expected a power of two" patches c.db -S model.patch_coder=unet -S model.patch_side=3
refuses 1 "patch_side.: found 8, .* has patches of 16 numbers" patches c.db -S model.patch_coder=unet -S model.patch_side=8
refuses 1 "patch_channels = 3" patches c.db -S model.patch_channels=3
refuses 64 "patch_weight" "$MOTBENCH" run "$home/workloads/smoke-transfusion.ini" --db c.db -S model.patch_weight=0
finish
