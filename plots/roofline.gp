# Every operation by its arithmetic intensity and the rate it reached; the area is its share of the
# time. Set before: data (file), archs (list of words), moved, fma, product, triad (lists of numbers,
# one for each arch; NaN: not measured), headline, plain (1: letters instead of symbols).
#
# data has one block per arch. Columns: FLOP/B, GFLOP/s, per cent, colour (a number), symbol (a
# number), label
# (empty where there is no room for it).
A = words(archs)
names = "attention 'feed forward' router head embed optimizer"
array colour[6] = [0xD55E00, 0x0072B2, 0x009E73, 0xCC79A7, 0xE69F00, 0x444444]
array symbol[3] = [7, 9, 5]
paint(c) = colour[int(c)]
shape(s) = symbol[int(s)]
size(p) = 0.4 + 0.62 * sqrt(p)

stats data using 2 nooutput name 'rate'
stats data using 1 nooutput name 'intensity'
number(list, a) = real(word(list, a))
most = number(fma, 1)
do for [a = 1:A] {
    most = number(fma, a) > most ? number(fma, a) : most
}
most = most > 0 ? most : rate_max

set encoding utf8
set datafile missing 'NaN'
set border 3 lc rgb '#666666'
set tics nomirror out scale 0.5 textcolor rgb '#333333'
if (!plain) { set grid back lc rgb '#dddddd' lt 1 lw 0.6 }
set logscale xy
set samples 1000
set xrange [10 ** floor(log10(intensity_min)) : 10 ** ceil(log10(intensity_max) + 0.8)]
set yrange [10 ** floor(log10(rate_min)) : 10 ** (log10(most) + 0.25)]
set format x '%g'
set format y '%g'
set key bottom right samplen 1 noautotitle
set xlabel 'arithmetic intensity (FLOP/B, operands once)'

# The roof: what memory gives up to the corner, what registers give after it.
roof(x, a) = triad_of(a) * x < number(fma, a) ? triad_of(a) * x : number(fma, a)
triad_of(a) = number(triad, a)

set multiplot layout 1, A title headline font ',14' \
    margins 0.14 / A, 1 - 0.04 / A, 0.1, 0.86 spacing 0.14 / A, 0.1
do for [a = 1:A] {
    set ylabel (a == 1 ? 'GFLOP/s (executed and vector)' : '')
    set title sprintf('%s (%.1f %% of the time without arithmetic)', word(archs, a), number(moved, a)) \
        font ',12'
    if (plain) {
        plot roof(x, a) with lines title 'roof', \
             data index a - 1 using 1:2 with points title 'operations'
    } else {
        plot roof(x, a) with lines lw 2 lc rgb '#222222' \
                 title sprintf('fma %.0f GFLOP/s, triad %.1f GB/s', number(fma, a), triad_of(a)), \
             number(product, a) with lines lw 1 dt 3 lc rgb '#222222' \
                 title sprintf('product %.0f GFLOP/s', number(product, a)), \
             data index a - 1 using 1:2:(size($3)):(shape($5)):(paint($4)) \
                 with points ps variable pt variable lc rgb variable, \
             data index a - 1 using 1:2:6 \
                 with labels left offset 1.2, 0.3 font ',9' textcolor rgb '#333333', \
             for [c = 1:6] keyentry with points pt 7 ps 1 lc rgb paint(c) title word(names, c), \
             for [s = 1:3] keyentry with points pt shape(s) ps 1 lc rgb '#888888' \
                 title word('forward backward optimiser', s)
    }
}
unset multiplot
