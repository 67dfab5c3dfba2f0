#!/bin/bash
# One audit on several machines by GNU parallel: parallel.sh model.onnx data results PARTS [-S HOST,HOST,...]
# The machines see the same files under the same paths. What has failed is run again by the same command: parts that are
# finished measure nothing a second time.
set -euo pipefail
model=$1 data=$2 results=$3 parts=$4
shift 4
parallel --jobs 1 "$@" \
  onnx-gapmil audit "$model" "$data" -o "$results/part-{}" --no-guess --batch 16 --shard "{}/$parts" \
  ::: $(seq 0 $((parts - 1)))
onnx-gapmil merge "$results"/part-* -o "$results/whole"
