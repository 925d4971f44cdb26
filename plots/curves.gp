# Validation loss against training FLOPs (above) and, unless a shared machine spoiled it, training time (below), one
# column of panels per modality. Set before: data (file), archs, modalities (lists of words), seeds (number), headline,
# plain_losses, better_losses (lists by modality, NaN: none), squared (likewise, 1: its losses are squared errors),
# rows (1: there are no times), seconds (of the unit of time), unit (its name), plain (1: letters instead of lines).
#
# data has one block per (modality, arch): its seeds as separate lines, then one more block for the
# mean. Columns: FLOPs, seconds, loss.
A = words(archs)
M = words(modalities)
block(m, a) = 2 * (A * (m - 1) + a - 1)

# Okabe and Ito's palette, told apart by all kinds of colour vision; the baseline, first, is grey.
array colour[7] = ['#444444', '#D55E00', '#009E73', '#0072B2', '#CC79A7', '#E69F00', '#56B4E9']
paint(a) = colour[1 + (a - 1) % 7]

# The least loss of dense, if it is there, is a dotted line: whoever meets it has matched dense.
array goal[M]
do for [m = 1:M] {
    stats data index block(m, 1) + 1 using 3 nooutput name 'dense'
    goal[m] = word(archs, 1) eq 'dense' && exists('dense_min') ? dense_min : NaN
}

# What the plainest predictors lose: a dashed line where curves are around it, else a word at the foot of the panel.
array top[M]
do for [m = 1:M] {
    top[m] = 0
    do for [a = 1:A] {
        stats data index block(m, a) + 1 using 3 nooutput name 'one'
        top[m] = exists('one_max') && one_max > top[m] ? one_max : top[m]
    }
}
floor_of(list, m) = real(word(list, m))
is_squared(m) = word(squared, m) eq '1'
any_squared = strstrt(squared, '1') > 0
plain_name(m) = is_squared(m) ? 'linear in a patch' : 'unigram'
better_name(m) = is_squared(m) ? 'linear in the image' : 'by place'
panel(m) = word(modalities, m).(!any_squared ? '' : is_squared(m) ? ' (mean squared error)' : ' (nats per token)')
near(x, m) = x <= top[m] ? x : NaN
far(name, x, m) = x > top[m] ? sprintf(is_squared(m) ? '%s loses %.3f' : '%s loses %.2f', name, x) : ''
gap(a, b) = strlen(a) && strlen(b) ? ', ' : ''

set encoding utf8
set datafile missing 'NaN'
set border 3 lc rgb '#666666'
set tics nomirror out scale 0.5 textcolor rgb '#333333'
if (!plain) { set grid back lc rgb '#dddddd' lt 1 lw 0.6 }
set key top right samplen 2 noautotitle
set offsets 0, 0, graph 0.03, graph 0.05
set xrange [0:*]

# Each panel: seeds as thin lines, their mean with points, dense's least loss.
set multiplot layout rows, M title headline font ',14' \
    margins 0.14 / M, 1 - 0.05 / M, 0.09, 0.88 spacing 0.12 / M, 0.15
do for [row = 1:rows] {
    do for [m = 1:M] {
        scale = row == 1 ? 1.0 : seconds
        legend = row == 1 && m == M
        set format x (row == 1 ? '%.1s %c' : '%g')
        set xlabel (row == 1 ? 'training FLOPs (model)' : 'training time ('.unit.')')
        set format y (is_squared(m) ? '%.2f' : '%.1f')
        set ylabel (m > 1 ? '' : any_squared ? 'validation loss' : 'validation loss (nats per token)')
        set title (row == 1 ? panel(m) : '') font ',12'
        u = floor_of(plain_losses, m)
        p = floor_of(better_losses, m)
        above = far(plain_name(m), u, m)
        above = above.gap(above, far(better_name(m), p, m)).far(better_name(m), p, m)
        set label 1 (row == 1 ? above : '') at graph 0.03, 0.03 font ',8' textcolor rgb '#666666'
        if (plain) {
            plot for [a = 1:A] data index block(m, a) + 1 using (column(row) / scale):3 \
                     with lines title (legend ? word(archs, a) : '')
        } else {
            plot goal[m] with lines lw 1 dt 3 lc rgb '#444444' \
                     title (legend && goal[m] == goal[m] ? 'least loss of dense' : ''), \
                 for [a = 1:A] data index block(m, a) \
                     using (seeds > 1 ? column(row) / scale : NaN):3 \
                     with lines lw 0.6 lc rgb paint(a), \
                 for [a = 1:A] data index block(m, a) + 1 using (column(row) / scale):3 \
                     with linespoints lw 2 pt 7 ps 0.45 lc rgb paint(a) \
                     title (legend ? word(archs, a) : ''), \
                 near(u, m) with lines lw 1 dt 2 lc rgb '#999999' \
                     title (row == 1 && near(u, m) == u ? plain_name(m) : ''), \
                 near(p, m) with lines lw 1 dt 4 lc rgb '#999999' \
                     title (row == 1 && near(p, m) == p ? better_name(m) : '')
        }
    }
}
unset multiplot
