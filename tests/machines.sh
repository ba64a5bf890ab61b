#!/bin/sh
# Runs the tests that depend on arithmetic as on other processors: about twelve minutes on two quiet cores.
#
# ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY keep libraries from newer instructions; a processor that lacks what is
# asked for uses the best that it has. So each line says what was used, and what was tried already is left out.
# Every pair of the two is tried on one thread, each of the first also on two and four.
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-.venv/bin/python}

numeric="
tests/test_machines.py
tests/test_predictor.py
tests/test_export.py::test_its_logits_are_those_of_the_run_and_its_probabilities_tempered
tests/data/test_batches.py
tests/evaluation/test_boundary.py
tests/evaluation/test_ensemble.py::test_mirrored_answers_are_those_of_both_images
tests/evaluation/test_inference.py
tests/evaluation/test_novelty.py
tests/models/test_folding.py
tests/models/test_onednn.py
tests/models/test_references.py
tests/training/test_loop.py
tests/training/test_objectives.py
tests/training/test_optimizers.py
tests/training/test_resident.py
tests/training/test_resume.py::test_every_kind_of_training_goes_on_exactly[plain]
tests/training/test_resume.py::test_every_kind_of_training_goes_on_exactly[bfloat16]
tests/training/test_resume.py::test_every_kind_of_training_goes_on_exactly[average]
tests/training/test_seeds.py::test_every_seed_comes_to_what_it_comes_to_alone[dropout]
tests/training/test_seeds.py::test_so_it_does_with_normalisation_and_augmentation[bfloat16]
"

probe='import torch
torch.nn.functional.conv2d(torch.ones(2, 3, 12, 12), torch.ones(8, 3, 3, 3))
print("torch: ATen", torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), "threads")'

tried=$(mktemp) said=$(mktemp) failed=0
trap 'rm -f "$tried" "$said"' EXIT
export MKL_DYNAMIC=FALSE OMP_WAIT_POLICY=passive  # threads may outnumber cores, and wait without spinning

# try ISA CAPABILITY THREADS: an empty word leaves the choice to the library
try() {
    threads=$3 setting="oneDNN ${1:-default}, ATen ${2:-default}, threads $3"
    set -- ${1:+ONEDNN_MAX_CPU_ISA=$1} ${2:+ATEN_CPU_CAPABILITY=$2} OMP_NUM_THREADS="$3"
    used=$(env "$@" ONEDNN_VERBOSE=1 "$python" -c "$probe" | sed -n 's/.*cpu,isa://p; s/^torch: //p' | paste -s -d ';')
    if grep -qxF "$used" "$tried"; then
        echo "as before  $setting ($used)"
        return
    fi
    echo "$used" >> "$tried"
    workers=$((threads == 1 ? 2 : 0))  # tests of one thread run two at a time
    # shellcheck disable=SC2086 - a list of words
    if env "$@" "$python" -m pytest -q -p no:cacheprovider -n $workers $numeric > "$said" 2>&1; then
        verdict=passed
    else
        verdict=FAILED failed=1
    fi
    echo "$verdict  $setting ($used): $(tail -n 1 "$said")"
    [ "$verdict" = passed ] || grep -E '^(FAILED|ERROR|E  )' "$said"
}

for isa in SSE41 AVX2 AVX512_CORE AVX512_CORE_BF16 ""; do
    for capability in "" avx2; do
        try "$isa" "$capability" 1
    done
    try "$isa" "" 2
    try "$isa" "" 4
done
exit $failed
