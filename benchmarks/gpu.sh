#!/bin/sh
# Everything that needs a CUDA card, in one call: the tests marked gpu, then gpu.py.
#
#   benchmarks/gpu.sh run [gpu.py's options]   on the machine with the card; results in $OUT (or build/gpu_output/)
#
# For a machine without a network, to which little can be carried at a time:
#
#   benchmarks/gpu.sh pack 3.12 50 [PACKAGE...]   here: wheels for that Python as build/gpu/part.aa, ... of 50 MB each;
#                                                 all that is needed, or only those named
#   benchmarks/gpu.sh keep                        there, once for each part carried: moves it into $GAPMIL_WHEELS
#   benchmarks/gpu.sh run                         there: installs what lies in $GAPMIL_WHEELS, then runs
#
# PYTHON names the interpreter (python3). GAPMIL_WHEELS is a folder that outlives a call (/tmp/gapmil-wheels).
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
KEPT=${GAPMIL_WHEELS:-/tmp/gapmil-wheels}
SITE=$KEPT/site
OUT=${OUT:-build/gpu_output}
NEEDED="onnxruntime-gpu onnx onnx-graphsurgeon numpy ml-dtypes protobuf opencv-python-headless pillow pyarrow rich
    markdown-it-py mdurl pygments click flatbuffers packaging typing-extensions pytest pluggy iniconfig hypothesis
    sortedcontainers scipy"

pack() {
    version=${1:-3.12} megabytes=${2:-50}
    shift 2>/dev/null || true
    shift 2>/dev/null || true
    [ $# -gt 0 ] || set -- $NEEDED
    rm -rf build/gpu && mkdir -p build/gpu/wheels
    # CUDA's and cuDNN's own libraries (2 GB) are taken to be there: with PyTorch, or by the system.
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64 \
        --dest build/gpu/wheels "$@"
    tar -cf - -C build/gpu wheels | split -b "${megabytes}M" - build/gpu/part.
    rm -rf build/gpu/wheels
    ls -l build/gpu
}

keep() {
    mkdir -p "$KEPT"
    mv build/gpu/part.* "$KEPT"/
    ls -l "$KEPT"
}

install() {
    if ls "$KEPT"/part.* >/dev/null 2>&1; then
        cat "$KEPT"/part.* | tar -xf - -C "$KEPT"
        rm "$KEPT"/part.*
        "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$SITE" "$KEPT"/wheels/*.whl
    fi
    if [ -d "$SITE" ]; then
        PYTHONPATH=$SITE${PYTHONPATH:+:$PYTHONPATH}
    fi
    PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
    # Wheels of NVIDIA that lie in another folder of packages than ONNX Runtime are not found by it.
    for folder in $("$PYTHON" -c 'import glob, sys; print(*{p for s in sys.path for p in glob.glob(s + "/nvidia/*/lib")})'); do
        LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    done
    export PYTHONPATH LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}"
}

run() {
    mkdir -p "$OUT"
    install
    "$PYTHON" -m onnx_gapmil doctor | tee "$OUT/doctor.txt" || true
    # Only the files that have such tests: collecting all of them needs packages that are not carried here.
    "$PYTHON" -m pytest -q -p no:cacheprovider -m gpu $(grep -rl --include='test_*.py' 'mark\.gpu' tests) 2>&1 | tee "$OUT/tests.txt" || true
    PYTHONUNBUFFERED=1 "$PYTHON" -m benchmarks.gpu --folder "$OUT" --markdown "$OUT/gpu.md" "$@"
}

case ${1:-} in
    pack | keep | run) verb=$1; shift; "$verb" "$@" ;;
    *) sed -n '2,13p' "$0"; exit 2 ;;
esac
