#!/bin/bash
# One audit as a Slurm array: sbatch slurm-array.sh model.onnx data results
# Each task measures one part of the data; a task that was preempted goes on where it was when it is requeued.
# When all have ended: onnx-gapmil merge results/part-* -o results/whole
#SBATCH --job-name=gapmil
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -euo pipefail
onnx-gapmil audit "$1" "$2" -o "$3/part-$SLURM_ARRAY_TASK_ID" --no-guess --batch 16 \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
