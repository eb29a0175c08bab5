"""Short requests of the data stage."""

import dataclasses
from typing import Any

from benchmark.config import DataConfig
from tasks.materialize.request import MaterializeRequest


def data_request(**values: Any) -> MaterializeRequest:
    """Makes a request with the defaults of `DataConfig`, but without a file of validation text; nothing is checked."""
    return dataclasses.replace(DataConfig(pretrain_validation="").request(), **values)
