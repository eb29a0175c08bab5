"""Every setting of a run, as one tree of frozen dataclasses.

The tree is built by `benchmark.cli.gin_loader` from gin files, and by tests directly. It imports the standard library
alone, so that the command line can refuse bad input before anything heavy is loaded. `benchmark.config.checks` is the
common base of the classes. A comment above a field describes it.
"""

from benchmark.config.checkpoint import CheckpointConfig
from benchmark.config.checks import ConfigError, canonical_json, fingerprint, to_dict
from benchmark.config.chips import ChipConfig
from benchmark.config.data import DataConfig
from benchmark.config.distillation import DistillConfig, PhaseConfig
from benchmark.config.encoder import EncoderConfig, encoder_from_dict
from benchmark.config.executor import ExecutorConfig
from benchmark.config.latency import LatencyConfig, latency_from_dict
from benchmark.config.run import BaselineConfig, FinetuneConfig, RunConfig
from benchmark.config.search import SearchConfig, SearchSpace
from benchmark.config.task import TaskConfig
from benchmark.config.task_distillation import AugmentationConfig, TaskDistillConfig, TaskPhaseConfig
from benchmark.config.task_recipe import TaskRecipeConfig
from benchmark.config.training import (
    MeshConfig,
    OptimizerConfig,
    PretrainConfig,
    TargetConfig,
    TeacherConfig,
    TrainerConfig,
)

__all__ = [
    "STAGES",
    "TRAINING_STAGES",
    "AugmentationConfig",
    "BaselineConfig",
    "CheckpointConfig",
    "ChipConfig",
    "ConfigError",
    "DataConfig",
    "DistillConfig",
    "EncoderConfig",
    "ExecutorConfig",
    "FinetuneConfig",
    "LatencyConfig",
    "MeshConfig",
    "OptimizerConfig",
    "PhaseConfig",
    "PretrainConfig",
    "RunConfig",
    "SearchConfig",
    "SearchSpace",
    "TargetConfig",
    "TaskConfig",
    "TaskDistillConfig",
    "TaskPhaseConfig",
    "TaskRecipeConfig",
    "TeacherConfig",
    "TrainerConfig",
    "canonical_json",
    "encoder_from_dict",
    "fingerprint",
    "latency_from_dict",
    "to_dict",
]

STAGES = ("data", "teacher", "search", "distill", "finetune", "latency", "record", "publish")
# Those that train; a dry run evaluates the shapes of their steps, and a run writes figures while they last.
TRAINING_STAGES = frozenset({"teacher", "search", "distill", "finetune"})
