"""Where the halfspaces of a table's networks are placed: between samples, or as in trees that fit the table."""

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse

from gln.engine.ensemble.ensemble import EXPANDED
from gln.engine.networks.protocol import Network
from gln.engine.networks.tree_halfspaces import choose_halfspaces, max_samples
from gln.engine.parallel import in_threads
from gln.engine.tabular.inputs import TableInputs, placing_rows
from gln.engine.tabular.jobs import Job
from gln.engine.tabular.model import TableModel


def place_halfspaces(model: TableModel, inputs: TableInputs) -> None:
    """Place halfspaces between samples, but for networks whose halfspaces `train` chooses, and for wide tables."""
    columns = inputs.columns_of(placing_rows(inputs))
    if issparse(columns) or columns.shape[1] == 1:
        return
    for ensemble in model.ensembles:
        for network, role in ensemble.members:
            if role != EXPANDED:
                network.fit_hyperplanes(columns)


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
