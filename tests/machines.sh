#!/bin/sh
# Runs the tests that depend on arithmetic as on other processors: about ten minutes on two quiet cores.
#
# ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY keep libraries from newer instructions; a processor that lacks what is
# asked for uses the best that it has. So each line says what was used, and what is the same as before is left out.
# Every pair of the two is tried on one thread, two at a time; each of the first also on two threads and on four.
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-.venv/bin/python}
export MKL_DYNAMIC=FALSE OMP_WAIT_POLICY=passive  # threads may outnumber cores, and wait without spinning

numeric="
tests/test_machines.py
tests/inference/test_predictor.py
tests/exports/test_export.py::test_its_logits_are_those_of_the_run_and_its_probabilities_calibrated
tests/data/test_batches.py
tests/evaluation/test_boundary.py
tests/evaluation/test_ensemble.py::test_mirrored_answers_are_those_of_both_images
tests/evaluation/test_inference.py
tests/evaluation/test_novelty.py
tests/models/test_capsnet.py
tests/models/test_dbn.py
tests/models/test_dropconnect.py
tests/models/test_fashionnet.py
tests/models/test_folding.py
tests/models/test_layers.py
tests/models/test_onednn.py
tests/models/test_patch_graph.py
tests/training/test_backbones.py::test_the_features_are_those_of_the_published_network
tests/training/test_linear_probe.py::test_it_finds_what_scikit_learn_finds
tests/training/test_loop.py
tests/training/test_objectives.py
tests/training/test_optimizers.py
tests/training/test_cuda_graph.py
tests/training/test_resume.py::test_every_kind_of_training_goes_on_exactly[plain]
tests/training/test_resume.py::test_every_kind_of_training_goes_on_exactly[bfloat16]
tests/training/test_resume.py::test_every_kind_of_training_goes_on_exactly[average]
tests/training/test_seeds.py::test_every_seed_comes_to_what_it_comes_to_alone[dropout]
tests/training/test_seeds.py::test_so_it_does_with_normalisation_and_augmentation[bfloat16]
"
# of test_loop.py, what depends on no rounding: choices, refusals, and messages of processes of their own
others="
--deselect tests/training/test_loop.py::test_the_model_is_that_of_the_epoch_which_the_rule_picks
--deselect tests/training/test_loop.py::test_a_step_that_is_not_finite_is_not_taken
--deselect tests/training/test_loop.py::test_training_stops_early_and_is_then_finished
--deselect tests/training/test_loop.py::test_training_and_a_report_leave_the_process_as_it_was
--deselect tests/training/test_loop.py::test_a_huge_learning_rate_leaves_the_command_with_6
"

probe='import torch
torch.nn.functional.conv2d(torch.ones(2, 3, 12, 12), torch.ones(8, 3, 3, 3))
print("torch: ATen", torch.backends.cpu.get_cpu_capability())'

# within ISA CAPABILITY COMMAND...: run a command with these; "default" leaves the choice to the library
within() {
    isa=$1 capability=$2
    shift 2
    [ "$capability" = default ] || set -- "ATEN_CPU_CAPABILITY=$capability" "$@"
    [ "$isa" = default ] || set -- "ONEDNN_MAX_CPU_ISA=$isa" "$@"
    env "$@"
}

# between two settings or two libraries, whatever the threads: with one is enough
between="
--deselect tests/test_machines.py::test_a_run_answers_and_goes_on_within_rounding_on_another_machine
--deselect tests/test_machines.py::test_a_run_keeps_its_precision_where_the_processor_would_choose_another
--deselect tests/exports/test_export.py::test_its_logits_are_those_of_the_run_and_its_probabilities_calibrated
"

if [ $# = 3 ]; then  # one setting: ISA CAPABILITY THREADS
    said=$(mktemp) verdict=FAILED
    trap 'rm -f "$said"' EXIT
    [ "$3" = 1 ] || others="$others $between"
    # shellcheck disable=SC2086 - lists of words
    OMP_NUM_THREADS=$3 within "$1" "$2" "$python" -m pytest -q -p no:cacheprovider -n 0 $numeric $others > "$said" 2>&1 \
        && verdict=passed
    echo "$verdict  oneDNN $1, ATen $2, threads $3: $(tail -n 1 "$said")"
    [ "$verdict" = passed ] || { grep -E '^(FAILED|ERROR|E  )' "$said"; exit 1; }
    exit
fi

one=$(mktemp) more=$(mktemp) seen=$(mktemp) failed=0
trap 'rm -f "$one" "$more" "$seen"' EXIT
for isa in SSE41 AVX2 AVX512_CORE AVX512_CORE_BF16 default; do
    for capability in default avx2; do
        used=$(ONEDNN_VERBOSE=1 within $isa $capability "$python" -c "$probe" |
            sed -n 's/.*cpu,isa://p; s/^torch: //p' | paste -s -d ';')
        if grep -qxF "$used" "$seen"; then
            echo "as before  oneDNN $isa, ATen $capability: $used"
            continue
        fi
        echo "to try     oneDNN $isa, ATen $capability: $used"
        echo "$used" >> "$seen"
        echo "$isa $capability 1" >> "$one"
        [ $capability = avx2 ] || printf '%s\n' "$isa default 2" "$isa default 4" >> "$more"
    done
done
xargs -P 2 -L 1 tests/machines.sh < "$one" || failed=1
xargs -L 1 tests/machines.sh < "$more" || failed=1
exit $failed
