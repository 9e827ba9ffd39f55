"""Learn a table: `fit_table` is the recipe, and what follows are its steps.

Networks are trained pass after pass, those that left out a row predict it, and what these predict decides how networks
are combined, and how important features are.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets, P passes, n rows that are left out.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from tqdm import tqdm

from gln.engine.batches import Matrix, chunks, dense, spread
from gln.engine.ensemble.combination import INVERSE_LINKS, Combination
from gln.engine.ensemble.ensemble import EXPANDED, Ensemble, Member, Role
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.ensemble.stacking import fit_stacking, score
from gln.engine.model.builders import Losses, NetworkConfig
from gln.engine.model.targets import Classes, Labels, Numbers, Targets
from gln.engine.networks.head_sampling import log_sampling_rate, one_vs_rest
from gln.engine.networks.protocol import Network
from gln.engine.networks.surgery import set_initial_logits
from gln.engine.networks.tree_halfspaces import choose_halfspaces, max_samples
from gln.engine.parallel import in_threads
from gln.engine.preprocessing.texts import TextModel
from gln.engine.tabular.folds import FOLDS, counted_folds, draw_folds, left_out_folds, logits_of_rates
from gln.engine.tabular.inputs import TableInputs, TrainingTable, placing_rows, table_inputs, with_texts
from gln.engine.tabular.model import TableModel
from gln.rates import LAST_RATE, RATES, linear_rate

MOST_ROWS = 40_000  # enough for a few stacking weights
EXPANDED_RATE = 3.0  # factor of the learning rate of networks that also mix expansions and bin means
MOST_TIMES = 10  # of `train_on`
LEAST_GAIN = 0.001  # of the score each time
# Of a table whose networks learn more than MANY_ROWS, pilots learn PILOT_ROWS to choose the learning rate. Of a shorter
# one they learn all, which takes no longer, since they need not be trained again, and chooses better.
MANY_ROWS, PILOT_ROWS = 6000, 2000
# Of `learn_left_out`, as a factor of the first rate. Its pass lowers the log-loss (or 1 - R²) by 1% on 36 tables, none
# of which becomes worse by more than 1%, by .7% on 20 others, by 1 to 3% with 200 classes of ten rows. It takes 8% of a
# fit.
LATE_RATE = 0.3
MOST_KEPT = 2000  # rows, for importances
PREDICTED = 5000  # rows for each feature, by shuffling fewer rows several times, at most MOST_SHUFFLES
MOST_SHUFFLES = 10


class Training(NamedTuple):
    passes: int
    shuffle: bool
    n_jobs: int | None
    verbose: bool
    early_stopping: bool  # whether to train on for as long as that helps
    random_state: int | np.random.RandomState | None = None


class Job(NamedTuple):
    """Networks to train, which read and leave out the same, so that each row is read once for all of them."""

    members: Sequence[Member]  # of one role
    seed: int  # of the orders in which they learn rows
    rows: np.ndarray  # to learn, of all folds but one
    fold: int  # that the networks leave out
    left_out: np.ndarray  # rows of this fold to predict

    @property
    def role(self) -> Role:
        return self.members[0].role

    @property
    def networks(self) -> list[Network]:
        return [member.network for member in self.members]


class FittedTable(NamedTuple):
    model: TableModel
    texts: dict[int, TextModel]  # by the user's column
    texts_of_folds: dict[int, list[TextModel]]  # of a sample, those that have not seen each fold
    learning_rate: float | None  # the first one, as it was chosen; None if it was given
    scores: np.ndarray  # (P,), for rows that were left out, after each pass
    samples: np.ndarray  # (n,), the samples of these rows
    predictions: np.ndarray  # (C, n), for them, like those of `TableModel.predict`
    left_out: LeftOutRows | None  # for importances; None if the table is wide


def fit_table(
    table: TrainingTable, config: NetworkConfig, networks: int, losses: Losses, training: Training
) -> FittedTable:
    """Learn a table with so many networks of means, and others if the losses ask for them.

    Each network leaves out one fold of the table. Its predictions there give it a stacking weight and, with densities,
    the deviations that the networks of variances learn.
    """
    table, y, targets = with_standardised_targets(table)
    rng, encoding_rng = (check_random_state(training.random_state) for _ in range(2))
    folds = draw_folds(y, table.groups, rng) if table.folds is None else table.folds
    counted = counted_folds(table.left_out)
    table, texts, texts_of_folds = with_texts(table, y, folds, counted)
    inputs = table_inputs(table, y, folds, counted, rng, encoding_rng if training.shuffle else None, training.n_jobs)
    model = TableModel.start(config, networks, losses, inputs.featurizer, targets)
    if table.has_many_classes:  # each head starts with the rate of its class
        logits = logits_of_rates(y, table.outputs) - log_sampling_rate(table.outputs)
        for network in model.networks:
            set_initial_logits(network, logits)
    place_halfspaces(model, inputs)
    means = model.means
    most = MOST_ROWS // FOLDS if model.variances is None else len(folds)
    jobs = jobs_of(means, folds, table.left_out, most)
    place_tree_halfspaces(jobs, inputs, training.n_jobs)
    rates: Sequence[Any] = RATES[means.link].table if means.networks[0].has_default_rate else [None]
    trained = (train_at_best if len(rates) > 1 else train)(means, jobs, inputs, training, *rates)
    if training.early_stopping:
        trained = train_on(means, trained, inputs, training)
    left_out = [out_of_fold(means, trained.jobs, outputs, inputs) for outputs in trained.outputs]
    means.combination = left_out[-1].combination
    if model.variances is not None:
        fit_variances(model, left_out[-1], inputs, table.left_out, training)
    estimates = cross_fitted(means, trained.jobs, left_out[-1], inputs)
    read = table.X, table.owners, inputs, means, trained.jobs
    rows_left_out = None if issparse(inputs.columns) else LeftOutRows.of_table(*read)
    # Variances are of deviations from the means as they are, and of a sample's folds more rows are still left out.
    if model.variances is None and table.folds is None:
        learn_left_out(means, trained, inputs, training)
    return FittedTable(
        model,
        texts,
        texts_of_folds,
        learning_rate=trained.rate,
        scores=np.array([predicted.score for predicted in left_out]),
        samples=table.indices[left_out[-1].rows],
        predictions=targets.units.limited(INVERSE_LINKS[means.link](estimates)),
        left_out=rows_left_out,
    )


def with_standardised_targets(table: TrainingTable) -> tuple[TrainingTable, np.ndarray, Targets]:
    """The table with numbers and labels standardised by all rows; what networks learn, (V,) or (T, V), which are labels
    as they were; and what these are."""
    given = table.targets
    if given.ndim == 1:
        return table, given, Classes()
    targets = (Labels if given.dtype == bool else Numbers).of_stream(table.outputs)
    targets.standardizer.fit(given)
    standardised = targets.standardizer.transform(given)
    return table._replace(targets=standardised), given if given.dtype == bool else standardised, targets


def place_halfspaces(model: TableModel, inputs: TableInputs) -> None:
    """Place halfspaces between samples, but for networks whose halfspaces `train` chooses, and for wide tables."""
    columns = inputs.columns_of(placing_rows(inputs))
    if issparse(columns) or columns.shape[1] == 1:
        return
    for ensemble in model.ensembles:
        for network, role in ensemble.members:
            if role != EXPANDED:
                network.fit_hyperplanes(columns)


def jobs_of(ensemble: Ensemble, folds: np.ndarray, left_out: int, most: int) -> list[Job]:
    """The networks of an ensemble, which leave out so many folds, with at most so many rows of each to predict."""
    together: dict[tuple[Role, int], list[Member]] = {}
    for member, fold in zip(ensemble.members, left_out_folds(ensemble, left_out), strict=True):
        together.setdefault((member.role, int(fold)), []).append(member)
    jobs = []
    for (_, fold), members in together.items():
        rows = np.flatnonzero(folds == fold)
        seed = members[0].network.config.seed or 0
        jobs.append(Job(members, seed, np.flatnonzero(folds != fold), fold, rows[spread(len(rows), most)]))
    return jobs


def place_tree_halfspaces(jobs: list[Job], inputs: TableInputs, n_jobs: int | None) -> None:
    """Give networks that also mix expansions the halfspaces of trees that fit the table."""
    expanded = [(network, job, inputs) for job in jobs if job.role == EXPANDED for network in job.networks]
    if expanded and expanded[0][0].config.context_map_size > 0:
        list(in_threads(fit_tree_halfspaces, expanded, n_jobs))


def fit_tree_halfspaces(network: Network, job: Job, inputs: TableInputs) -> None:
    """Choose the halfspaces of a network by some of the rows that it will learn."""
    config = network.config
    rows = np.random.RandomState(config.seed).permutation(job.rows)[: max_samples(config.context_map_size)]
    halfspaces = choose_halfspaces(config, inputs.columns_of(rows), inputs.targets[..., rows], inputs.step_sizes[rows])
    state = dict(network.get_state(copy=False))
    ends = np.cumsum(network.config.layer_sizes)[:-1]
    for name, array in zip(("hyperplanes", "hyperplane_bias"), halfspaces, strict=True):
        state |= {f"{name}.{layer}": part for layer, part in enumerate(np.split(array, ends), 1)}
    network.set_state(state)


class Trained(NamedTuple):
    """Networks after some passes."""

    jobs: list[Job]
    rate: float | None  # the first one; None if it was given
    outputs: list[list[np.ndarray]]  # after each pass, of each job's networks for what they left out, (M, C, n)


def train_at_best(
    ensemble: Ensemble, jobs: list[Job], inputs: TableInputs, training: Training, *rates: float
) -> Trained:
    """Train an ensemble at the rate at which pilots, a network of each job, predict best what they left out.

    The pilots of a large table are copies that learn PILOT_ROWS: then the whole ensemble is trained after them.
    """
    is_large = len(jobs[0].rows) > MANY_ROWS
    best = None
    best_score = -np.inf
    pilots = [job._replace(members=job.members[:1]) for job in jobs]
    if is_large:
        drawn = [np.random.default_rng(job.seed).permutation(job.rows)[:PILOT_ROWS] for job in jobs]
        pairs = zip(pilots, drawn, strict=True)
        pilots = [job._replace(members=copy.deepcopy(job.members), rows=rows) for job, rows in pairs]
    networks = [network for job in pilots for network in job.networks]
    before = [network.get_state() for network in networks]
    for rate in rates:
        if best is not None:
            set_states(networks, before)
        trained = train(ensemble, pilots, inputs, training, rate, best)
        score = out_of_fold(ensemble, pilots, trained.outputs[-1], inputs).score
        if best is None or (len(trained.outputs) == training.passes and score > best_score):
            best = trained
            best_score = score
            states = [network.get_state() for network in networks]
    assert best is not None
    if is_large:
        return train(ensemble, jobs, inputs, training, best.rate)
    if best is not trained:
        set_states(networks, states)
    others = [job._replace(members=job.members[1:]) for job in jobs if len(job.members) > 1]
    if not others:
        return best
    rest = train(ensemble, others, inputs, training, best.rate)
    outputs = [first + second for first, second in zip(best.outputs, rest.outputs, strict=True)]
    return Trained(best.jobs + rest.jobs, best.rate, outputs)


def train_on(ensemble: Ensemble, trained: Trained, inputs: TableInputs, training: Training) -> Trained:
    """Train networks for as many passes again, while the score of what they left out rises; else leave them as before.

    All together, because a single network overfits sooner.
    """
    jobs, rate, outputs = trained
    networks = ensemble.networks
    best_score = out_of_fold(ensemble, jobs, outputs[-1], inputs).score
    for _ in range(MOST_TIMES):
        before = [network.get_state() for network in networks]
        more = train(ensemble, jobs, inputs, training, rate).outputs
        score = out_of_fold(ensemble, jobs, more[-1], inputs).score
        if not score > best_score + LEAST_GAIN:
            set_states(networks, before)
            break
        outputs = outputs + more
        best_score = score
    return trained._replace(outputs=outputs)


def learn_left_out(ensemble: Ensemble, trained: Trained, inputs: TableInputs, training: Training) -> None:
    """Let each network also learn the rows that it left out, in a last pass over all rows, or it would forget some.

    Only after everything that these rows decide: the rate, the combination and all estimates are of networks that had
    not seen them. Of long tables, an eighth of the rows would change too little for the time that it takes.
    """
    if len(trained.jobs[0].rows) <= MANY_ROWS:
        everything = np.arange(len(inputs.indices))
        jobs = [job._replace(rows=everything, left_out=everything[:0]) for job in trained.jobs]
        rate = None if trained.rate is None else LATE_RATE * trained.rate
        train(ensemble, jobs, inputs, training._replace(passes=1, verbose=False), rate)


def set_states(networks: list[Network], states: list[dict[str, np.ndarray]]) -> None:
    for network, state in zip(networks, states, strict=True):
        network.set_state(state)


def train(
    ensemble: Ensemble,
    jobs: list[Job],
    inputs: TableInputs,
    training: Training,
    rate: float | None,
    rival: Trained | None = None,  # the same networks at another rate
) -> Trained:
    """Train networks, which stop after a third of the passes if they are behind a rival there.

    Of 72 tables and parts of tables, a lower rate that is behind then is ahead in the end on three, by 3% at most.
    """
    outputs: list[list[np.ndarray]] = []
    total = training.passes * len(inputs.indices)
    with tqdm(total=total, unit=" rows", unit_scale=True, disable=not training.verbose) as bar:
        for number in range(training.passes):
            # Backwards, because networks of expansions take longest and come last: so threads end together.
            arguments = [(job, inputs, training, rate, number) for job in reversed(jobs)]
            outputs.append([])
            for output in in_threads(train_pass, arguments, training.n_jobs):
                outputs[-1].insert(0, output)
                bar.update(len(inputs.indices) / len(jobs))
            if training.verbose and ensemble.link != "log":  # of which there is a score
                bar.set_postfix_str(f"left-out score {out_of_fold(ensemble, jobs, outputs[-1], inputs).score:.3f}")
            if rival is not None and number == (training.passes - 1) // 3:
                score = out_of_fold(ensemble, jobs, outputs[number], inputs).score
                if score < out_of_fold(ensemble, jobs, rival.outputs[number], inputs).score:
                    break
    return Trained(jobs, rate, outputs)


def train_pass(job: Job, inputs: TableInputs, training: Training, rate: float | None, number: int) -> np.ndarray:
    """Let the networks of a job learn its rows in a pass of this number.

    Returns their outputs for what they left out, (M, C, n).
    """
    rows = job.rows
    network = job.members[0].network
    rng = np.random.default_rng([job.seed, int(network.step)])
    order = rng.permutation(rows) if training.shuffle else rows
    for chunk in chunks(len(rows)):
        chosen = order[chunk]
        learned = number * len(rows) + np.arange(chunk.start, chunk.stop)
        rates = rates_of(job.members[0], learned, training.passes * len(rows), rate).astype(np.float32)
        rates = (rates * inputs.step_sizes.take(chosen)).astype(np.float32)
        read = inputs.read(chosen, job.role)
        targets = targets_of_heads(network, inputs.targets.take(chosen, axis=-1))
        for member in job.members:
            member.network.predict_arrays(*read.of(member.network), targets, rates)
    return outputs_of(job, inputs)


def rates_of(member: Member, learned: np.ndarray, planned: int, rate: float | None) -> np.ndarray:  # (n,) -> (n,)
    """The rates of a network that has learned so much of what is planned; its own ones if no first rate is given."""
    if rate is None:
        return member.network.rates(len(learned))
    return linear_rate(learned, planned, rate * (EXPANDED_RATE if member.role == EXPANDED else 1), LAST_RATE)


def targets_of_heads(network: Network, targets: np.ndarray) -> np.ndarray:  # (n,) or (T, n) -> (C, n) float32
    if network.config.record.heads == "num_classes":
        return one_vs_rest(targets, network.config.num_heads, int(network.step))
    clipped = targets.clip(-network.config.bound, network.config.bound)
    return np.broadcast_to(clipped, (network.config.num_heads, targets.shape[-1])).astype(np.float32)


def fit_variances(model: TableModel, left_out: OutOfFold, inputs: TableInputs, folds: int, training: Training) -> None:
    """Train the networks of variances on the deviations of standardised targets from their means, as predicted out of
    fold, and fit their stacking weights and the shape of densities. They leave out so many folds."""
    variances = model.variances
    inputs = inputs.take(left_out.rows)
    bound = model.means.networks[0].config.bound
    assert variances is not None
    targets = inputs.targets
    deviations = (targets - left_out.combined).clip(-bound, bound).astype(np.float32)
    inputs = inputs._replace(targets=deviations)
    rng = np.random.RandomState(variances.networks[0].config.seed)
    chosen = draw_folds(deviations, inputs.groups, rng)  # other ones, because these rows may be of few folds
    jobs = jobs_of(variances, chosen, folds, MOST_ROWS // FOLDS)
    place_tree_halfspaces(jobs, inputs, training.n_jobs)
    trained = train(variances, jobs, inputs, training, RATES[variances.link].table[0])
    rows, by_role = left_out_by_role(jobs, trained.outputs[-1])
    pairs = zip(by_role.swapaxes(0, 1), deviations[:, rows], strict=True)
    weights, skew, tails = zip(*(fit_density(*pair, inputs.step_sizes[rows]) for pair in pairs), strict=True)
    combination = Combination.of_weights("log", variances.experts, np.ones(len(weights)), np.stack(weights))
    variances.combination = combination.knowing(by_role, inputs.step_sizes[rows])
    shape = JohnsonSU.plain(np.array(skew), np.array(tails))
    log_variances = variances.combination.of_experts().combine(by_role)
    levels = shape.cdf(deviations[:, rows] * np.exp(-log_variances / 2))
    units = model.targets.units
    is_least, is_most = units.at_limits(units.of(targets[:, rows]))
    below = np.where(is_least, 0, levels)
    above = np.where(is_most, 1, levels)
    variances.shape = shape.recalibrated(below, above, inputs.step_sizes[rows])


# ---- Predictions out of fold -----------------------------------------------------------------------------------------


class OutOfFold(NamedTuple):
    """Rows that networks of each role left out, and what these predict there together."""

    rows: np.ndarray  # (n,)
    by_role: np.ndarray  # (R, C, n), see `left_out_by_role`
    combination: Combination  # of the networks, learned from these rows
    combined: np.ndarray  # (C, n), logits, standardised values or log variances
    score: float


def outputs_of(job: Job, inputs: TableInputs) -> np.ndarray:  # -> (M, C, n)
    """Logits, standardised values or log variances, of the networks of a job for what they left out."""
    together = Ensemble(job.members)
    predicted = [together.run(inputs.read(job.left_out[chunk], job.role)) for chunk in chunks(len(job.left_out))]
    empty = np.empty((len(job.members), together.heads, 0), np.float32)
    return together.mixed(np.concatenate([empty, *predicted], axis=2).astype(np.float64))


def out_of_fold(ensemble: Ensemble, jobs: list[Job], outputs: list[np.ndarray], inputs: TableInputs) -> OutOfFold:
    """Combine the outputs of some networks of an ensemble for what they left out, (M, C, n) of each job."""
    rows, by_role = left_out_by_role(jobs, outputs)
    combination = fit_combination(ensemble, by_role, rows, inputs.targets, inputs)
    combined = combination.of_experts(ensemble.offset).combine(by_role)
    how_good = score(ensemble.config, combined, inputs.targets[..., rows], inputs.representing(rows))
    return OutOfFold(rows, by_role, combination, combined, how_good)


def cross_fitted(ensemble: Ensemble, jobs: list[Job], left_out: OutOfFold, inputs: TableInputs) -> np.ndarray:
    """`OutOfFold.combined` with, for the rows of each fold, a combination that was learned from other folds alone.

    So it is an estimate for new rows, (C, n). Of few rows, those that a combination was learned from are predicted too
    well.
    """
    rows = left_out.rows
    by_role = left_out.by_role
    combined = left_out.combined.copy()
    for job in {job.fold: job for job in jobs}.values():
        is_left_out = np.isin(rows, job.left_out)
        if not is_left_out.all():  # by a single network there are no other folds
            others = by_role[..., ~is_left_out], rows[~is_left_out], inputs.targets[..., job.rows]
            combination = fit_combination(ensemble, *others, inputs)
            together = combination.of_experts(ensemble.offset)
            combined[:, is_left_out] = together.combine(by_role[..., is_left_out])
    return combined


def fit_combination(
    ensemble: Ensemble,
    by_role: np.ndarray,  # (R, C, n)
    rows: np.ndarray,  # (n,)
    counted: np.ndarray,  # targets, of which the rates of classes are known
    inputs: TableInputs,
) -> Combination:
    """The combination of networks that predicts these rows best."""
    heads = ensemble.heads
    targets = inputs.targets[..., rows]
    weights = inputs.representing(rows)
    rates = logits_of_rates(counted, max(2, heads))[-heads:] if ensemble.config.logits else None
    return fit_stacking(ensemble.config, ensemble.experts, by_role, targets, weights, rates)


def left_out_by_role(jobs: Sequence[Job], outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows that networks of each role left out, (n,), and the mean output of each role there, (R, C, n)."""
    roles = dict.fromkeys(job.role for job in jobs)
    rows = []
    means = []
    for fold, left_out in {job.fold: job.left_out for job in jobs}.items():
        pairs = [(job.role, output) for job, output in zip(jobs, outputs, strict=True) if job.fold == fold]
        by_role = [[output for role_of, output in pairs if role_of == role] for role in roles]
        if all(by_role):
            rows.append(left_out)
            means.append(np.stack([np.concatenate(networks).mean(axis=0) for networks in by_role]))
    return np.concatenate(rows), np.concatenate(means, axis=2)


# ---- Importance of features ------------------------------------------------------------------------------------------


class LeftOutRows(NamedTuple):
    """Some rows of a table that networks left out, and these networks, to tell how important features are: how much
    worse the rows are predicted if a feature is shuffled among them.

    Source: L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """

    X: np.ndarray  # (n, F), with codes for categories
    owners: np.ndarray  # (F,), the column of the user's table that each feature is made from
    inputs: TableInputs  # what networks read of them
    ensemble: Ensemble
    jobs: Sequence[Job]  # copies of its networks before they learn the rows; those left out as numbers below n

    @classmethod
    def of_table(
        cls, X: Matrix, owners: np.ndarray, inputs: TableInputs, ensemble: Ensemble, jobs: list[Job]
    ) -> LeftOutRows:  # (N, F), (F,)
        folds = {job.fold: job.left_out for job in jobs}
        most = MOST_KEPT // len(folds)
        rows = np.concatenate([left_out[spread(len(left_out), most)] for left_out in folds.values()])
        numbers = {fold: np.flatnonzero(np.isin(rows, left_out)) for fold, left_out in folds.items()}
        kept = [Job(copy.deepcopy(job.members), job.seed, rows[:0], job.fold, numbers[job.fold]) for job in jobs]
        taken = inputs.take(rows)._replace(step_sizes=inputs.representing(rows))
        return cls(dense(X[inputs.indices[rows]]), owners, taken, ensemble, kept)

    def importances(self, columns: int) -> np.ndarray:
        """By how much the score falls if a column of the user's table is shuffled, for each of so many: the log-loss
        that is added, or the R² that is lost."""
        rng = np.random.default_rng(0)
        count = len(self.X)
        times = int(np.clip(PREDICTED // max(1, count), 1, MOST_SHUFFLES))
        orders = [rng.permutation(count) for _ in range(times)]
        best = self._score(self.inputs)
        made = [np.flatnonzero(self.owners == column) for column in range(columns)]
        shuffled = [
            np.mean([self._score(self._shuffled(features, order)) for order in orders]) if len(features) else best
            for features in made
        ]
        return best - np.array(shuffled)

    def _score(self, inputs: TableInputs) -> float:
        outputs = [outputs_of(job, inputs) for job in self.jobs]
        rows, by_role = left_out_by_role(self.jobs, outputs)
        combined = self.ensemble.neuron.of_experts(self.ensemble.offset).combine(by_role)
        return score(self.ensemble.config, combined, inputs.targets[..., rows], inputs.step_sizes[rows])

    def _shuffled(self, chosen: np.ndarray, order: np.ndarray) -> TableInputs:
        """What networks read if rows have the values that some features have in other rows.

        Means of their bins go with the values: those of the model would have counted the row's own target. Pairs of
        bins, of which one is of another feature, are looked up in the model.
        """
        inputs = self.inputs
        featurizer = inputs.featurizer
        columns = inputs.columns.copy()
        is_made_from = np.isin(featurizer.feature_of_columns, chosen)
        columns[:, is_made_from] = columns[order][:, is_made_from]
        samples = self.X.T.copy()
        samples[chosen] = samples[chosen][:, order]
        reads = np.isin(featurizer.bin_means.features, chosen)  # (E, 2)
        bin_means = np.where(reads.any(axis=1), featurizer.bin_means.transform(samples).T, inputs.bin_means)
        is_alone = reads.all(axis=1)
        bin_means[:, is_alone] = inputs.bin_means[order][:, is_alone]
        return inputs._replace(columns=columns, bin_means=bin_means)
