"""Runtimes for the ONNX graph: onnxruntime or OpenVINO."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from chainkit.backends.sentence.blocks import BLOCK, coded, in_blocks, with_blocks
from chainkit.backends.sentence.graph import (
    SentenceEncoder,
    WeightsAs,
    graph_name,
    read_encoder,
    weight_names,
    write_graph,
)
from chainkit.backends.sentence.recipe import Recipe
from chainkit.backends.sentence.tensors import read_tensors, release
from chainkit.backends.sentence.weights import write_whole
from chainkit.base.errors import MissingLibrary, ModelFileError, Unsupported
from chainkit.base.paths import cache_dir
from chainkit.sizing.machines import usable_cpus

Array = np.ndarray[Any, Any]
Precision = Literal["auto", "float32", "bfloat16", "int8"]


class Runtime(Protocol):
    """Runs an encoder; may be called from several threads at once."""

    def states(self, ids: Array, mask: Array) -> Array:
        """Token states, float32, B x T x D, of token numbers and their mask, int64, B x T."""
        ...


def load_runtime(recipe: Recipe, name: str, precision: Precision, n_threads: int | None) -> Runtime:
    """The runtime for a model.

    Args:
        recipe: The model.
        name: "onnxruntime", "openvino", or "auto": OpenVINO where it is installed.
        precision: "auto" is bfloat16 where the CPU multiplies it (only with OpenVINO), else float32; "int8" keeps most
            matrices as in `blocks.py` and computes the rest as "auto" does.
        n_threads: None means all CPUs that the process may use.

    Raises:
        MissingLibrary: The runtime is not installed.
        ModelFileError: The model's files cannot be used.
        Unsupported: No graph can be written for the model, or the runtime lacks the precision.
    """
    if name == "auto":
        name = "openvino" if importlib.util.find_spec("openvino") and precision != "float32" else "onnxruntime"
    threads = n_threads or usable_cpus()
    if name == "openvino":
        return OpenVino(recipe, precision, threads)
    if precision == "bfloat16":
        raise Unsupported("precision=bfloat16 needs runtime=openvino; onnxruntime computes in float32 or int8")
    return OnnxRuntime(recipe, precision, threads)


class OnnxRuntime:
    """onnxruntime on the CPU, in float32, or with most matrices as 8-bit numbers."""

    def __init__(self, recipe: Recipe, precision: Precision, n_threads: int) -> None:
        # since 1.32 its wheels report to their maker unless this is set before the import (Privacy.md in the wheel)
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingLibrary("onnxruntime", extra="embed") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.log_severity_level = 3
        # threads that wait by spinning take the CPU from everything else on the machine
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source = _own_graph(recipe, precision)
        if isinstance(source, Path):
            self._session = _opened(source, lambda: onnxruntime.InferenceSession(str(source), options))
        else:
            encoder, tensors = source
            graph = _graph(encoder, tensors, "blocks" if precision == "int8" else "external")
            if precision == "int8":
                tensors = with_blocks(tensors)
            # the session reads the words' table in place, so the mapped file has to stay
            self._kept = [onnxruntime.OrtValue.ortvalue_from_numpy(values) for values in tensors.values()]
            options.add_external_initializers(list(tensors), self._kept)
            self._session = _opened(recipe.folder, lambda: onnxruntime.InferenceSession(graph, options))
            release(source[1])  # the matrices have been copied, the words' table has not
        self._inputs = {given.name for given in self._session.get_inputs()}
        self._output = _states_output([output.name for output in self._session.get_outputs()], recipe.folder)

    def states(self, ids: Array, mask: Array) -> Array:
        """See `Runtime`."""
        return self._session.run([self._output], _inputs(self._inputs, ids, mask))[0]


class OpenVino:
    """OpenVINO on the CPU, in bfloat16 where the CPU multiplies that."""

    def __init__(self, recipe: Recipe, precision: Precision, n_threads: int) -> None:
        try:
            import openvino  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingLibrary("openvino", extra="openvino") from error
        core = openvino.Core()
        able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not able:
            raise Unsupported("precision=bfloat16: this CPU does not multiply bfloat16; use float32")
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if able and precision != "float32" else "f32",
            "INFERENCE_NUM_THREADS": n_threads,
            "NUM_STREAMS": 1,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": BLOCK if precision == "int8" else 0,
        }
        source = _own_graph(recipe, precision)
        if isinstance(source, Path):
            model = _opened(source, lambda: core.read_model(str(source)))
        else:
            model = self._with_weights(core, *source, in_int8=precision == "int8")
        self._inputs = {given.get_any_name() for given in model.inputs}
        self._output = _states_output([output.get_any_name() for output in model.outputs], recipe.folder)
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        if not isinstance(source, Path):
            release(source[1])
        self._busy = threading.Lock()  # a request holds one input at a time; its threads are busy then anyway

    def states(self, ids: Array, mask: Array) -> Array:
        """See `Runtime`."""
        with self._busy:
            self._request.infer(_inputs(self._inputs, ids, mask), share_inputs=True)
            return np.array(self._request.get_tensor(self._output).data, np.float32)

    @staticmethod
    def _with_weights(core: Any, encoder: SentenceEncoder, tensors: Mapping[str, Array], in_int8: bool) -> Any:
        from openvino import opset13  # pyright: ignore[reportMissingImports]

        def node(name: str) -> Any:
            if not in_int8 or not in_blocks(name):
                return opset13.constant(tensors[name], shared_memory=True)
            # the plugin knows this pattern and multiplies the codes themselves
            codes, scales = coded(tensors[name])
            values = opset13.convert(opset13.constant(codes), "f32")
            scaled = opset13.multiply(values, opset13.constant(scales[:, :, None].copy()))
            rows, columns = tensors[name].shape
            padded = opset13.reshape(scaled, [rows, codes[0].size], special_zero=False)
            return padded if columns % BLOCK == 0 else opset13.slice(padded, [0], [columns], [1], [1])

        model = core.read_model(_graph(encoder, tensors, "inputs"))
        for parameter in model.get_parameters():
            name = parameter.output(0).get_any_name()
            if name in tensors:
                parameter.output(0).replace(node(name).output(0))
                model.remove_parameter(parameter)
        return model


def _own_graph(recipe: Recipe, precision: Precision) -> Path | tuple[SentenceEncoder, Mapping[str, Array]]:
    """The model's onnx/model.onnx, or the parts to build a graph; the latter if both are possible."""
    weights, exported = recipe.folder / "model.safetensors", recipe.folder / "onnx" / "model.onnx"
    if not weights.is_file():
        return _as_exported(exported, precision)
    tensors = read_tensors(weights)
    try:
        encoder = read_encoder(recipe.config, list(tensors), recipe.folder)
    except Unsupported:
        if exported.is_file():
            return _as_exported(exported, precision)
        raise
    return encoder, {name: tensors[name] for name in weight_names(encoder, tensors, weights)}


def _as_exported(graph: Path, precision: Precision) -> Path:
    if precision == "int8":
        raise Unsupported(f"{graph}: precision=int8 needs a graph of chainkit's own; this one has its precision in it")
    return graph


def _graph(encoder: SentenceEncoder, tensors: Mapping[str, Array], weights_as: WeightsAs) -> bytes:
    """The graph, from the cache if it is there."""
    shapes = {name: values.shape for name, values in tensors.items()}
    path = cache_dir() / "sentence" / graph_name(encoder, shapes, weights_as)
    with contextlib.suppress(OSError):
        return path.read_bytes()
    graph = write_graph(encoder, shapes, weights_as)
    with contextlib.suppress(OSError):  # a home that cannot be written to costs half a second at the next start
        write_whole(path, graph)
    return graph


def _opened(source: object, opening: Any) -> Any:
    try:
        return opening()
    except Exception as error:
        raise ModelFileError(source, f"the graph cannot be loaded: {error}") from error


def _inputs(names: set[str], ids: Array, mask: Array) -> dict[str, Array]:
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: given[name] for name in names}


def _states_output(names: list[str], folder: Path) -> str:
    for wanted in ("states", "last_hidden_state", "token_embeddings"):
        if wanted in names:
            return wanted
    raise Unsupported(f"{folder}: the graph gives {', '.join(names)}, and none of them is the states of the tokens")
