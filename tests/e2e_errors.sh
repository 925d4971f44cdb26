#!/bin/sh
# Bad input of every kind: one line that says what and where, the documented exit code, and nothing
# left behind.
set -u
. "$PWD/tests/e2e.lib"
m=$MOTBENCH

# ---- the command line
refuses 64 'Usage: motbench' "$m"
refuses 64 "no verb 'fly'" "$m" fly
refuses 64 'expected a workload' "$m" run
refuses 64 'unrecognized option' "$m" run x.ini --fly
refuses 64 '2/1: expected I/N' "$m" run x.ini --shard 2/1
refuses 64 '1/2x: expected I/N' "$m" run x.ini --shard 1/2x
refuses 64 'threads 0: expected' "$m" run x.ini --threads 0
refuses 64 "'fp8': expected fp32 or bf16" "$m" run x.ini --precision fp8
refuses 64 'xml: expected human' "$m" list archs --format xml
refuses 64 "'things': expected one of" "$m" list things
refuses 64 'expected list, prepare' "$m" data
refuses 64 'expected CHECKPOINT' "$m" score
holds "--help is no error" "$m" --help >"$work/out"
full_help() { "$m" --help >/dev/full; }
refuses 1 'standard output: cannot be written' full_help
holds "--version is no error" "$m" --version >"$work/out"

# ---- workloads and settings
bad() { # PATTERN LINE...: a workload of these lines
    pattern=$1
    shift
    printf '%s\n' "$@" >bad.ini
    refuses 1 "$pattern" "$m" run bad.ini --db bad.db
}
refuses 1 'no.ini: No such file' "$m" run no.ini --db bad.db
bad "bad.ini:2: key 'widht' is not known" '[model]' 'widht = 3'
bad 'bad.ini:1: section .modle. is not known' '[modle]'
bad "bad.ini:2: key 'width': found '12x', expected a whole number" '[model]' 'width = 12x'
bad "bad.ini:2: key 'experts': found '0'" '[arch switch]' 'experts = 0'
bad "bad.ini:2: key 'capacity': found 'nan'" '[arch switch]' 'capacity = nan'
bad "bad.ini:3: key 'width' is set a second time" '[model]' 'width = 8' 'width = 8'
bad "bad.ini:2: key 'heads': found 3, expected a divisor" '[model]' 'heads = 3' '[arch dense]'
bad 'bad.ini: no .arch NAME. section' '[model]'
bad "arch 'dance' is not known" '[arch dance]'
smoke=$home/workloads/smoke.ini
refuses 64 'backend quantum: expected one of' "$m" run "$smoke" --backend quantum --db bad.db
if "$m" list backends --format csv | grep -q '^"*cuda' && [ ! -e /dev/nvidiactl ]; then
    refuses 1 "backend 'cuda': no device can be used here" "$m" run "$smoke" --backend cuda --db bad.db
fi
refuses 64 '-S width=3: expected section.key=value' "$m" run "$smoke" -S width=3 --db bad.db
refuses 64 "-a: arch 'dance' is not known" "$m" run "$smoke" -a dance --db bad.db
refuses 64 "-s: key 'list': found 'x'" "$m" run "$smoke" -s x --db bad.db
refuses 64 "-S model.width=x: key 'width': found 'x'" "$m" run "$smoke" -S model.width=x --db bad.db
refuses 64 "-S seeds.list=1,,2: key 'list': found ''" "$m" run "$smoke" -S seeds.list=1,,2 --db bad.db
refuses 1 "-S workload.seq_len=8: key 'seq_len': length 8: the longest document" \
    "$m" run "$smoke" -S workload.seq_len=8 --db bad.db
bad "bad.ini:3: key 'seq_len': length 9: the longest" '[workload]' 'data = procedural' 'seq_len = 9' '[arch dense]'
bad "bad.ini:2: key 'list': found ''" '[seeds]' 'list = 1,,2'
refuses 1 'workloads/chameleon-37m.ini:10: key .path.: chameleon-tokens: No such file or directory' \
    "$m" run "$home/workloads/chameleon-37m.ini" --db bad.db
refuses 1 '.S workload.path=/nonexistent: key .path.: /nonexistent: No such file' \
    "$m" run "$smoke" -S workload.data=shards -S workload.path=/nonexistent --db bad.db
holds "no database was begun" [ ! -e bad.db -a ! -e bad.checkpoints ]

# ---- a job that fails is recorded, and the others go on
sed -e 's/^lr = .*/lr = 10/' -e 's/^\[model\]/weight_decay = 10\n[model]/' "$smoke" >diverge.ini
refuses 1 '1 of 2 runs failed (recorded in mixed.db), the first: the .* is not finite' \
    "$m" run diverge.ini "$smoke" -a dense --threads 1 --quiet --db mixed.db
holds "one failed and one did not" [ "$(sqlite3 mixed.db \
    "SELECT group_concat(workload || ' ' || status) FROM v_run")" = 'diverge failed,smoke ok' ]
holds "no state of the hopeless one is left" no_leftovers mixed.db

# ---- databases
printf 'this is not a database, and long enough to be taken for one ....................' >text.db
refuses 1 'text.db' "$m" run "$smoke" --db text.db
refuses 1 'text.db' "$m" db check --db text.db
refuses 1 'none.db' "$m" cmp --db none.db
refuses 1 'none.db' "$m" list runs --db none.db
: >empty.db
for verb in cmp 'list runs' 'table summary' 'plot curves -o x.svg' 'db export -o x'; do
    refuses 1 'empty.db: an empty database' "$m" $verb --db empty.db
    refuses 1 'none.db: No such file' "$m" $verb --db none.db
done
refuses 1 'none.db: No such file' "$m" db check --db none.db
holds "an empty database is sound" "$m" db check --db empty.db >"$work/out"
holds "nothing came of it" [ ! -e none.db -a ! -s empty.db -a ! -e x -a ! -e x.svg ]
train good.db -a dense
cp good.db newer.db
sqlite3 newer.db 'PRAGMA user_version = 999'
refuses 1 'newer.db' "$m" run "$smoke" --db newer.db
dd if=good.db of=short.db bs=4096 count=3 2>/dev/null
refuses 1 'short.db' "$m" db check --db short.db
mkdir folder.db
refuses 1 'folder.db' "$m" run "$smoke" --db folder.db
refuses 64 'nonsense' "$m" table nonsense --db good.db
refuses 64 'nonsense' "$m" plot nonsense -o x.svg --db good.db

# ---- a database for everybody to read
chmod 755 "$work" && mkdir shelf && cp good.db shelf && chmod 444 shelf/good.db && chmod 555 shelf
as_another() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --clear-groups "$@"; else "$@"; fi
}
if as_another test -x "$m"; then
    for verb in 'list runs' 'table summary' 'db check'; do
        holds "$verb reads it" as_another "$m" $verb --db shelf/good.db >"$work/out"
    done
    refuses 7 'dense' as_another "$m" cmp --db shelf/good.db
fi

# ---- checkpoints and tokens
npy() { # FILE DESCR SHAPE BYTES
    printf '\223NUMPY\001\000\166\000%-117s\n' "{'descr': '$2', 'fortran_order': False, 'shape': $3, }" >"$1"
    printf "$4" >>"$1"
}
weights=$(sqlite3 good.db 'SELECT checkpoint FROM v_run')
npy tokens.npy '|u1' '(2, 3)' '\001\002\003\004\005\006'
npy flat.npy '|u1' '(6,)' '\001\002\003\004\005\006'
npy floats.npy '<f4' '(1, 1)' '\000\000\000\000'
npy large.npy '<u2' '(1, 2)' '\001\000\377\377'
npy wrong.npy '|u1' '(2, 3)' '\001\000\000\000\000\011'
npy truncated.npy '|u1' '(2, 3)' '\001\002'
score() {
    "$m" score "$@" -o logits.npy
}
holds "a checkpoint gives logits" score "$weights" --tokens tokens.npy
holds "their shape is (B, T, V)" grep -q -a "(2, 3, [0-9]*)" logits.npy
mv logits.npy first.npy
npy modality.npy '|u1' '(2, 3)' '\000\000\000\000\000\000'
holds "modalities may be given" score "$weights" --tokens tokens.npy --modality modality.npy
holds "dense does not look at them" cmp first.npy logits.npy
rm -f logits.npy
refuses 1 'flat.npy: 1 dimensions, expected' score "$weights" --tokens flat.npy
refuses 1 'floats.npy: an array of floats' score "$weights" --tokens floats.npy
refuses 1 'large.npy: element (0, 1) is 65535, expected a token' score "$weights" --tokens large.npy
refuses 1 'truncated.npy' score "$weights" --tokens truncated.npy
refuses 1 'wrong.npy: element (1, 2) is 9, expected a modality' \
    score "$weights" --tokens tokens.npy --modality wrong.npy
refuses 1 'large.npy: 1 x 2 modalities, expected 2 x 3' \
    score "$weights" --tokens tokens.npy --modality large.npy
refuses 1 'none.safetensors' score none.safetensors --tokens tokens.npy
refuses 1 'tokens.npy' score tokens.npy --tokens tokens.npy
head -c 3000 "$weights" >cut.safetensors
refuses 1 'cut.safetensors' score cut.safetensors --tokens tokens.npy
holds "and no logits were written" [ ! -e logits.npy ]
refuses 64 "backend 'null' computes nothing" score "$weights" --tokens tokens.npy --backend null
refuses 1 '/nonexistent/l.npy' "$m" score "$weights" --tokens tokens.npy -o /nonexistent/l.npy

# ---- prepared data that somebody changed
prepared=$MOTBENCH_DATA/procedural-v1-bpe320
cp -r "$prepared" whole
damaged() { # PATTERN COMMAND...: which is run in the prepared set and does the damage
    says=$1
    shift
    rm -rf "$prepared" && cp -r whole "$prepared"
    (cd "$prepared" && "$@")
    refuses 1 "$says" "$m" data verify procedural
    [ -e "$prepared/manifest.json" ] || return # without one a run prepares the set anew
    refuses 1 "$says" "$m" run "$smoke" -a dense --db damaged.db
}
damaged 'train.tokens.u16: SHA-256' \
    sh -c 'printf "\000" | dd of=train.tokens.u16 bs=1 seek=1000 conv=notrunc 2>&-'
damaged 'val.tokens.u16: [0-9]* bytes found' truncate -s -2 val.tokens.u16
damaged 'tokens.u16: ' \
    sh -c 'mv val.tokens.u16 t && mv test.tokens.u16 val.tokens.u16 && mv t test.tokens.u16'
damaged 'merges.txt: No such file' rm merges.txt
damaged 'manifest.json:[0-9]*: ' truncate -s 60 manifest.json
damaged 'it was changed' sed -i s/320/321/ manifest.json
damaged 'is not prepared' rm manifest.json
rm -rf "$prepared" && mv whole "$prepared"
holds "damaged data trained nothing" [ ! -e damaged.db ]

# ---- what always works
holds "doctor" "$m" doctor --db none.db >"$work/out"
for kind in archs workloads data tables plots settings backends; do
    holds "list $kind" "$m" list "$kind" -w "$home/workloads" --format csv >"$work/out"
done
holds "list runs" "$m" list runs --db good.db --format json >"$work/out"
finish
