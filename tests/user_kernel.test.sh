#!/bin/sh
# A kernel of the user's: the example of docs/variants.md as it stands there, right, wrong, and misused.
set -u
. "$(dirname "$0")/tap.sh"
root=$PWD
export BTC_TUNED=

# block KIND NAME: a block of the page.
block() { awk -v head="\`\`\`$1 file $2" '$0 == head {inside = 1; next} /^```/ {inside = 0} inside' docs/variants.md; }
for name in covariance.btg model.btg; do block btg $name >"$work/$name"; done
block c covariance.c >"$work/covariance.c"
mkdir "$work/elsewhere"
cd "$work" || exit 2

# bound FILE ENTRIES: the model with this schedule.
bound() { { cat model.btg; echo "schedule pretrain { $2 }"; } >"$1"; }
small='-D batch=13 -D dim=21'
bound bound.btg 'objective: kernel("covariance.c", "covariance")'
bound taken.btg 'objective: kernel("covariance.c", "covariance") objective: covariance'

# ---- the header ----
expect 'the prototype' 0 out '^    const float \*za, .*in  f32\[40, 300\]' "$btc" variants model.btg --prototype objective=covariance
holds 'it is a header by itself' sh -c '"$0" variants model.btg --prototype objective=covariance >elsewhere/covariance.h && cc -Wall -Wextra -Werror -fsyntax-only elsewhere/covariance.h' "$btc"
holds 'twice included it is there once' sh -c 'cd elsewhere && printf "#include \"covariance.h\"\n#include \"covariance.h\"\n" >twice.c && cc -Wall -Werror -fsyntax-only twice.c'
expect 'its lines' 0 out 'covariance.btg:5 .*a. @ b / n' "$btc" variants model.btg --prototype objective
expect 'called as the region' 0 out '^void objective(' "$btc" variants model.btg --prototype pretrain/objective
expect 'called as what is bound' 0 out '^void covariance(' "$btc" variants bound.btg --prototype objective
expect 'sizes by -D' 0 out 'za_dim0 = 13, za_dim1 = 21,' "$btc" variants model.btg --prototype objective $small
expect 'a product by itself' 0 out '^void forward_a(' "$btc" variants model.btg --prototype projector.0/forward@a
expect 'of a function' 0 out 'float \*d_zb' "$btc" variants covariance.btg --function covariance_loss --shape za=5x7 --shape zb=5x7 --prototype objective
expect 'of no region' 1 err "no region is called 'objektive'" "$btc" variants model.btg --prototype objektive
expect 'of several' 1 err 'means several regions' "$btc" variants model.btg --prototype projector.0
expect 'by no name of C' 1 err "'a-b' is not the name of a C function" "$btc" variants model.btg --prototype objective=a-b

# ---- among the variants ----
expect 'it is listed' 0 out '^    covariance  *? ' "$btc" variants bound.btg objective
expect 'and never chosen by prediction' 0 out '^  \* gram .*by cost' "$btc" variants bound.btg objective
expect 'JSON' 0 out '"predicted_seconds": null' "$btc" variants bound.btg objective --json
expect 'by the schedule' 0 out '^  \* covariance .*by schedule' "$btc" variants taken.btg objective
expect 'by --variant' 0 out '^  \* covariance .*by --variant' "$btc" variants bound.btg objective --variant objective=covariance
expect 'from another folder' 0 out '^program pretrain' sh -c 'cd elsewhere && "$0" check ../taken.btg' "$btc"

expect 'explain calls its arguments as the prototype does' 0 out '^ *writes  *d_zb  *f32\[40, 300\]' "$btc" explain taken.btg

# ---- what it computes ----
expect 'btc bench finds it right' 0 out '^  covariance .*e-[0-9]*$' "$btc" bench bound.btg objective --seconds 0.1 $small
sed 's|2 \* (a\[i\] - b\[i\])|(a[i] - b[i])|' covariance.c >wrong.c
bound wrong.btg 'objective: kernel("wrong.c", "covariance") objective: covariance'
expect 'and a wrong one wrong' 1 out 'covariance .*WRONG: d_z' "$btc" bench wrong.btg objective --seconds 0.1 $small
sed 's/\*loss = .*;/*loss = NAN;/; s/^#include <cblas.h>/&\n#include <math.h>/' covariance.c >nan.c
bound nan.btg 'objective: kernel("nan.c", "covariance")'
expect 'and one that has no number' 1 out 'WRONG: loss' "$btc" bench nan.btg objective --seconds 0.1 $small

# A safetensors file with x and y of 13 x 16 floats from a table; three steps of the program from there.
floats() {
  awk -v seed="$1" -v count=208 'BEGIN {
    split("\\000\\000\\200\\077 \\000\\000\\200\\277 \\000\\000\\100\\076 \\000\\000\\100\\077 \\000\\000\\000\\300 \\000\\000\\240\\077 \\000\\000\\200\\276", t, " ")
    for (i = 0; i < count; i++) { seed = (seed * 1103515245 + 12345) % 2147483648; printf "%s", t[1 + int(seed / 65536) % 7] }
  }'
}
header='{"x":{"dtype":"F32","shape":[13,16],"data_offsets":[0,832]},"y":{"dtype":"F32","shape":[13,16],"data_offsets":[832,1664]}}'
{ printf "\\$(printf %03o ${#header})\\0\\0\\0\\0\\0\\0\\0"; printf %s "$header"; printf "$(floats 1)$(floats 2)"; } >data.safetensors

# losses FILE TYPE SIZE: the tensor `losses` of a file, as text.
losses() {
  length=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
  begin=$(dd if="$1" bs=1 skip=8 count="$length" 2>/dev/null | sed 's/.*"losses":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/')
  od -An -t "$2" -j $((8 + length + begin)) -N "$3" "$1"
}
agree() { # agree FILE FILE: three losses, f32 and f64, to 2e-5
  { losses "$1" f4 12; losses "$2" f8 24; } | tr -s ' \n' ' ' | awk '
    { for (i = 1; i <= 3; i++) { print $i, $(i + 3); d = $i / $(i + 3) - 1; if (!(d < 2e-5 && d > -2e-5)) bad = 1 } if (NF != 6) bad = 1 }
    END { exit bad || NR == 0 }'
}
differ() { ! agree "$1" "$2"; }
run3() { "$btc" eval "$1" --program pretrain --in data.safetensors --out "$2" --steps 3 --backend="$3" $small; }
holds 'three steps by the equations' run3 taken.btg by_interp interp
holds 'three steps with the kernel' run3 taken.btg by_kernel c
holds 'the same losses' agree by_kernel by_interp
holds 'three steps with a wrong one' run3 wrong.btg by_wrong c
holds 'other losses' differ by_wrong by_interp
expect 'gradients are those of the equations' 0 out 'good$' "$btc" gradcheck taken.btg $small
expect 'which alone the interpreter can run' 1 err 'only compiled code can call' "$btc" gradcheck taken.btg $small --variant objective=covariance

# ---- the trainer ----
holds 'a trainer' "$btc" compile taken.btg -o train $small
expect 'that calls it' 0 out 'call_covariance' "$btc" compile taken.btg --emit=kernels $small
holds 'a shared object' "$btc" compile taken.btg --shared -o train.so $small
holds 'sizes follow -D' "$btc" compile taken.btg -o train -D batch=5 -D dim=6
"$btc" variants model.btg --prototype objective=covariance >covariance.h # of other sizes
expect 'not the header beside the file' 0 out '^  covariance .*e-[0-9]*$' "$btc" bench bound.btg objective --seconds 0.1 $small
rm covariance.h
holds 'nothing is left behind' sh -c 'ls | grep -v -e btg$ -e [.]c$ -e train -e by_ -e data -e elsewhere -e out -e err -e held; [ $? = 1 ]'

# ---- mistakes ----
# mistake NAME ENTRIES PATTERN: a diagnostic when the file is checked.
mistake() { bound mistake.btg "$2"; expect "$1" 1 err "$3" "$btc" check mistake.btg; }
mistake 'a file that is not there' 'objective: kernel("none.c", "f")' 'mistake.btg:16:39: error: cannot read none.c: No such file'
mistake 'no name of C' 'objective: kernel("covariance.c", "co-variance")' "16:55: error: 'co-variance' is not the name of a C function"
mistake 'a word of C' 'objective: kernel("covariance.c", "double")' "'double' is not the name"
mistake 'no region' 'objektive: kernel("covariance.c", "f")' "no region of program pretrain is called 'objektive'; did you mean 'objective'?"
mistake 'several regions' 'projector.0: kernel("covariance.c", "f")' "'projector.0' means several regions, and a kernel is for one: pretrain/projector.0/forward@a, "
mistake 'the name of a variant' 'objective: kernel("covariance.c", "gram")' 'pretrain/objective has a variant .gram. already; call the function something else'
mistake 'an argument for it' 'objective: kernel("covariance.c", "f") objective: f(mc: 8)' 'pretrain/objective cannot be computed as .f.: .f. takes no .mc.; .unfused., '
mistake 'bound twice' 'objective: kernel("covariance.c", "f") objective: kernel("covariance.c", "f")' 'has a variant .f. already'
mistake 'a number' 'objective: kernel("covariance.c", 3)' 'the function of a kernel is a string, not the integer 3'
mistake 'no function' 'objective: kernel("covariance.c")' 'missing argument .function. of .kernel.'

# broken NAME SED PATTERN: a diagnostic, or the C compiler's words, when the changed kernel is compiled.
broken() {
  sed "$2" covariance.c >broken.c
  bound broken.btg 'objective: kernel("broken.c", "covariance") objective: covariance'
  expect "$1" 1 err "$3" "$btc" compile broken.btg -o broken $small
  holds "$1: not a bug of btc" sh -c '! grep "bug in btc" err'
}
broken 'a mistake of syntax' 's/double sum = 0;/double sum = 0/' 'broken.btg:16:.*error: the C compiler did not accept broken.c'
broken 'another signature' 's/const float \*zb/const double *zb/' 'conflicting types for .covariance'
broken 'no such function' 's/^void covariance/static void covariances/; /include "covariance.h"/d' "broken.c defines no function 'covariance'"
broken 'a function that is not there' 's/gradient(d_zb/gradientt(d_zb/' 'broken.c calls a function that neither it nor a library'
for name in one other; do echo "void $name(void) { missing_of_$name; }" >$name.c; done
bound both.btg 'objective: kernel("one.c", "one") objective: one "projector.0/forward@a": kernel("other.c", "other") "projector.0/forward@a": other'
expect 'two files with mistakes' 1 err 'the C compiler did not accept one.c' "$btc" compile both.btg -o both $small
holds 'each has its say' sh -c 'grep -q "missing_of_one" err && grep -q "missing_of_other" err && grep -q "did not accept other.c" err'
bound two.btg 'objective: kernel("covariance.c", "covariance") objective: covariance "projector.0/forward@a": kernel("covariance.c", "covariance") "projector.0/forward@a": covariance'
expect 'one function for two regions' 1 err "'covariance' already computes another region" "$btc" compile two.btg -o two $small

# Its warnings are shown, and do not stand in the way.
sed 's/double sum = 0;/double sum = 0; int unused;/' covariance.c >warned.c
bound warned.btg 'objective: kernel("warned.c", "covariance") objective: covariance'
expect 'a warning' 0 err 'unused variable' "$btc" compile warned.btg -o warned $small

cd "$root" && echo "1..$n"
