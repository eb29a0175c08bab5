"""The exporting process of ONNX graphs; `benchmark.latency.onnx_graphs` starts it.

Encoders on standard input, `{name: {"encoder": fields, "file": path}}`; on standard output `{name: reason}` of those
that transformers has no class for.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmark.config import EncoderConfig, encoder_from_dict
from benchmark.export import checkpoint_files
from benchmark.export.onnx_export import export_graph
from benchmark.latency.runtimes import random_params
from benchmark.models.hugging_face import CheckpointError
from benchmark.models.hugging_face_layouts import LAYOUTS


def export(encoder: EncoderConfig, target: Path) -> None:
    """Writes the graph of an encoder without head: ids, mask and token types to the last hidden state.

    Raises:
        CheckpointError: transformers has no class that computes it.
    """
    import transformers

    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        config = checkpoint_files.write(Path(folder) / "model", encoder, {"encoder": random_params(encoder)})
        # Classes of types without pooler in the encoder do not know the option.
        options = {"add_pooling_layer": False} if LAYOUTS[config["model_type"]].base_pooler else {}
        model = transformers.AutoModel.from_pretrained(Path(folder) / "model", attn_implementation="eager", **options)
        made = Path(folder) / target.name
        export_graph(model.eval(), made, ("last_hidden_state",))
        # Weights beyond protobuf's limit of 2 GiB would be in further files; no encoder of this family is that large.
        made.replace(target)


def main() -> None:
    """Exports the encoders on standard input."""
    refused = {}
    for name, wanted in json.loads(sys.stdin.read()).items():
        try:
            export(encoder_from_dict(wanted["encoder"]), Path(wanted["file"]))
        except CheckpointError as error:
            refused[name] = " ".join(str(error).split())
    sys.stdout.write("\n" + json.dumps(refused) + "\n")


if __name__ == "__main__":
    main()
