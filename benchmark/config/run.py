"""Settings of a whole run: the root, baselines and fine-tuning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from benchmark.config.checkpoint import CheckpointConfig
from benchmark.config.checks import LARGEST_SEED, Checked, setting
from benchmark.config.data import DataConfig
from benchmark.config.distillation import DistillConfig
from benchmark.config.encoder import EncoderConfig
from benchmark.config.latency import LatencyConfig
from benchmark.config.losses import LOSSES
from benchmark.config.search import SearchConfig
from benchmark.config.task_distillation import TaskDistillConfig, number_for_task
from benchmark.config.task_recipe import TaskRecipeConfig, check_rates
from benchmark.config.training import OptimizerConfig, TeacherConfig, TrainerConfig

# A name that is part of file names and record ids; a record's system name allows no other characters.
NAME = r"[a-z0-9][a-z0-9_.-]{0,59}"


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(Checked):
    """A baseline: an architecture that goes through the recipe of the found students, or a published checkpoint."""

    name: str = setting(pattern=NAME)
    title: str = setting()
    # None takes that of the checkpoint's `config.json`; with a checkpoint both must agree.
    encoder: EncoderConfig | None = setting(None)
    # Without `start` it is evaluated and measured as it is, and not distilled.
    checkpoint: CheckpointConfig | None = setting(None)
    # `checkpoint`: the checkpoint is where the distillation starts.
    start: str = setting("", choices=("", "checkpoint"))

    @property
    def architecture(self) -> EncoderConfig:
        """The encoder; that of a checkpoint is known once `benchmark.export.start` has read it."""
        if self.encoder is None:
            self.refuse("encoder", "an @EncoderConfig(), or a BaselineConfig.checkpoint whose config.json has one")
        return self.encoder

    @property
    def is_distilled(self) -> bool:
        """False for a published checkpoint that is taken as it is."""
        return self.checkpoint is None or self.start == "checkpoint"

    def check(self) -> None:
        """Refuses a baseline of nothing."""
        if self.checkpoint is None:
            # Raises where there is no architecture either.
            assert self.architecture
            if self.start:
                self.refuse("start", "'' without a BaselineConfig.checkpoint")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Checked):
    """Fine-tuning: the recipe of all tasks and, where a task has its own, `recipes`; one run for each seed."""

    seeds: tuple[int, ...] = setting((0, 1, 2), at_least=0, at_most=LARGEST_SEED)
    # One number for all tasks, or one for each of `DataConfig.tasks` in their order; that of a task without training
    # data is not used.
    epochs: tuple[float, ...] = setting((3.0,), at_least=0.01)
    # Limit of a run on a large task; 0: none.
    max_steps: int = setting(0, at_least=0)
    # Rows are cut to the longest of their split, rounded up to a multiple of so many columns. A small multiple computes
    # less padding, a large one shares compiled programs between tasks.
    length_multiple: int = setting(16, at_least=1)
    # Batches have rows of similar length, and each is cut to one of a few lengths (`benchmark.training.batches`), which
    # are chosen for the task: little padding is computed, and each length compiles a program. It pays where steps take
    # longer than compiling.
    group_by_length: bool = setting(False)
    batch_size: int = setting(32, at_least=1)
    optimizer: OptimizerConfig = setting()
    # One takes the place of the optimizer's rate. Of several each system takes, for each task, the one that is best on
    # rows of the training split that are held out (`selection_fraction`), with the first seed; the validation split is
    # not looked at. All seeds are then fine-tuned with it on the whole training split.
    learning_rates: tuple[float, ...] = setting((), at_least=0.0, added=True)
    # Share of the training examples on which learning rates are compared.
    selection_fraction: float = setting(0.1, at_least=0.001, at_most=0.9, added=True)
    # Tasks with a recipe of their own, in any order.
    recipes: tuple[TaskRecipeConfig, ...] = setting((), added=True)
    # Adds the other good answers of every SQuAD question, with scores, to the prediction files.
    write_nbest: bool = setting(False)
    # Predicts the official test split of each task too, beside the split that is scored, for the files of GLUE's server
    # (`python -m benchmark.commands.server_files`); a finished run can be called again with it.
    predict_test: bool = setting(False, changes_results=False)
    # Keeps the fine-tuned parameters of the first seed of every system, for `python -m baselines export --task`; a
    # finished run can be called again with it.
    keep_parameters: bool = setting(False, changes_results=False)
    # Those of a found student are kept in any case if a model has at most so many bytes; 0 keeps none.
    keep_found_bytes: int = setting(2**28, at_least=0, changes_results=False)
    # With it found students and baselines learn each task from the fine-tuned teacher; epochs, batch, optimizer, rates
    # and recipes above then hold for the teacher and the untrained control.
    distill: TaskDistillConfig | None = setting(None)

    def check(self) -> None:
        """Refuses repeated seeds, rates and recipes, and starts that the recipes do not allow."""
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            self.refuse("seeds", "distinct seeds, at least one")
        if not self.epochs:
            self.refuse("epochs", "one number, or one for each task")
        check_rates(self, self.learning_rates)
        tasks = [recipe.task for recipe in self.recipes]
        for recipe in self.recipes:
            if tasks.count(recipe.task) > 1:
                recipe.refuse("task", "one recipe for each task")
            if self.start_of(recipe.start_task):
                recipe.refuse("start_task", "a task that starts from no other one")
            if recipe.start_task and self.distill is not None:
                recipe.refuse("start_task", "'' with FinetuneConfig.distill, whose students learn from the teacher")

    def start_of(self, task: str) -> str:
        """Names the task whose fine-tuned parameters a task starts from, or ''."""
        return next((recipe.start_task for recipe in self.recipes if recipe.task == task), "")

    def for_task(self, task: str, place: int) -> FinetuneConfig:
        """Gives the settings of one task, which is number `place` of `DataConfig.tasks`.

        Returns:
            Settings without recipes and with one number of epochs. `learning_rates` are those to choose from; where
            there is no choice they are (), and the rate is that of the optimizer.
        """
        own = next((recipe for recipe in self.recipes if recipe.task == task), TaskRecipeConfig(task=task))
        rates = own.learning_rates or self.learning_rates
        chosen = dataclasses.replace(
            self,
            epochs=(number_for_task(self.epochs, place) if own.epochs is None else own.epochs,),
            batch_size=self.batch_size if own.batch_size is None else own.batch_size,
            max_steps=self.max_steps if own.max_steps is None else own.max_steps,
            learning_rates=rates,
            recipes=(),
        )
        return chosen if len(rates) > 1 else chosen.with_rate(rates[0] if rates else self.optimizer.learning_rate)

    def with_rate(self, rate: float) -> FinetuneConfig:
        """Gives the same settings with one learning rate and no choice: those of a run that never had one."""
        optimizer = dataclasses.replace(self.optimizer, learning_rate=rate)
        return dataclasses.replace(
            self, optimizer=optimizer, learning_rates=(), selection_fraction=FinetuneConfig.selection_fraction
        )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """One experiment; the root that a gin file configures."""

    track: str = setting(pattern=NAME)
    track_version: str = setting("0.1")
    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    # `portable`: a CPU computes the same bits on every x86-64 machine with AVX2 (docs/reproducibility.md). `native`: it
    # uses all of the processor, and results differ from machine to machine in the last bits.
    numerics: str = setting("portable", choices=("portable", "native"))
    # Threads among which portable numerics divide sums, whatever the machine has; native ones ignore it.
    reduction_threads: int = setting(2, at_least=1, at_most=64)
    data: DataConfig = setting()
    # A run that only evaluates published checkpoints has no teacher, no search and no recipe.
    teacher: TeacherConfig | None = setting(None)
    # None: the baselines are the only students.
    search: SearchConfig | None = setting(None)
    distill: DistillConfig | None = setting(None)
    finetune: FinetuneConfig = setting()
    latency: LatencyConfig = setting()
    trainer: TrainerConfig = setting(TrainerConfig())
    baselines: tuple[BaselineConfig, ...] = setting(())
    # Adds the architecture of one student with random parameters, which only fine-tuning trains: the name of a
    # baseline, `found` for the first found student, or '' for none.
    untrained_control: str = setting("")
    # Systems that are distilled or fine-tuned at the same time, in threads: small models leave cores idle.
    parallel_systems: int = setting(1, at_least=1)

    @property
    def encoders(self) -> dict[str, EncoderConfig]:
        """The architectures that are known before the search, by a description of their place.

        Those of checkpoints that have not been read yet are missing.
        """
        found = {} if self.teacher is None else {"the teacher": self.teacher.encoder}
        found |= {} if self.search is None else {"SearchSpace.base": self.search.space.base}
        found |= {f"baseline {b.name!r}": b.encoder for b in self.baselines}
        return {place: encoder for place, encoder in found.items() if encoder is not None}

    @property
    def distilled_baselines(self) -> tuple[BaselineConfig, ...]:
        """The baselines that are distilled."""
        return tuple(baseline for baseline in self.baselines if baseline.is_distilled)

    def check(self) -> None:
        """Refuses names, batches and lengths that do not go together, and students that nothing could train or rank."""
        names = [b.name for b in self.baselines]
        if len(set(names)) != len(names) or {"teacher", "untrained"} & set(names):
            self.refuse("baselines", "distinct names other than 'teacher' and 'untrained'")
        if self.untrained_control not in ("", *(["found"] if self.search else []), *names):
            found = "'', 'found' or" if self.search else "'' or"
            self.refuse("untrained_control", f"{found} the name of a baseline: {', '.join(names)}")
        self._check_parts()
        parts = self.trainer.gradient_accumulation_steps
        pretrain = None if self.teacher is None else self.teacher.pretrain
        trained = (pretrain, self.distill, self.finetune, self.finetune.distill)
        sizes = {settings.batch_size for settings in trained if settings is not None}
        sizes |= {recipe.batch_size for recipe in self.finetune.recipes if recipe.batch_size is not None}
        if any(size % parts for size in sizes):
            self.trainer.refuse(
                "gradient_accumulation_steps", f"a divisor of every batch_size: {', '.join(map(str, sorted(sizes)))}"
            )
        if self.finetune.group_by_length and self.trainer.steps_per_dispatch > 1:
            self.finetune.refuse("group_by_length", "False where TrainerConfig.steps_per_dispatch is above 1")
        if len(self.finetune.epochs) not in (1, len(self.data.tasks)):
            self.finetune.refuse("epochs", f"one number, or one for each of the {len(self.data.tasks)} tasks")
        for recipe in self.finetune.recipes:
            if recipe.task in self.data.tasks and recipe.start_task not in ("", *self.data.tasks):
                recipe.refuse("start_task", f"'' or a task of the run: {', '.join(self.data.tasks)}")
        if self.finetune.distill is not None:
            self._check_task_distillation(self.finetune.distill)
        for place, encoder in self.encoders.items():
            accepted = f"at most {encoder.max_length_text} of {place}"
            text = ("pretrain_length",) if self.data.pretrain_corpora else ()
            for name in (*text, "task_length", "span_length"):
                if getattr(self.data, name) > encoder.max_length:
                    self.data.refuse(name, accepted)
            if max(self.latency.sequence_lengths) > encoder.max_length:
                self.latency.refuse("sequence_lengths", accepted)

    def required_search(self) -> SearchConfig:
        """Gives the search's settings to a command that needs them.

        Raises:
            ConfigError: the run has no search.
        """
        if self.search is None:
            self.refuse("search", "a @SearchConfig(), whose space or chip this command reads")
        return self.search

    def _check_parts(self) -> None:
        """Refuses a run without systems, and students without teacher, recipe or text."""
        students = self.search is not None or bool(self.distilled_baselines)
        if self.teacher is None and not self.baselines:
            self.refuse("baselines", "at least one baseline in a run without teacher")
        if students and self.teacher is None:
            self.refuse("teacher", "a @TeacherConfig(): the run has students to distil")
        if students and self.distill is None:
            self.refuse("distill", "a @DistillConfig(): the run has students to distil")
        if self.finetune.distill is not None and self.teacher is None:
            self.refuse("teacher", "a @TeacherConfig(), as FinetuneConfig.distill learns from it")
        if not self.data.pretrain_corpora and (self.teacher is not None and self.teacher.pretrain.steps or students):
            self.data.refuse("pretrain_corpora", "at least one path, as the run trains on text")
        if self.search is None or self.distill is None:
            return
        if not any(phase.trains_masked_lm for phase in self.distill.phases):
            heads = " or ".join(name for name, loss in LOSSES.items() if loss.reads == "logits")
            accepted = f"a recipe with a weight above 0 of {heads} in a phase with steps"
            self.distill.refuse("recipe", f"{accepted}: the search ranks by {self.search.objective}")

    def _check_task_distillation(self, distill: TaskDistillConfig) -> None:
        """Refuses lists that have neither one number nor one for each task."""
        accepted, lengths = (
            f"one number, or one for each of the {len(self.data.tasks)} tasks",
            (1, len(self.data.tasks)),
        )
        for phase in distill.phases:
            if len(phase.epochs) not in lengths:
                phase.refuse("epochs", accepted)
        if distill.augmentation is not None and len(distill.augmentation.copies) not in (0, *lengths):
            distill.augmentation.refuse("copies", f"(), {accepted}")
