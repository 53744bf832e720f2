"""llama.cpp's library by ctypes, for benches/correctness.py: tokens of a text, logits after each token, quantized rows.

The library is the prebuilt one of the npm package @node-llama-cpp/linux-x64. Its structures of parameters change between
releases; they are taken as opaque bytes with the library's own defaults, and the few fields that are set are checked first.
"""

import ctypes
import glob
import os
import time

import numpy


class Parameters(ctypes.Structure):
    """More bytes than any release's parameters have: passed on the stack, where the callee reads as many as it knows."""

    _fields_ = [("words", ctypes.c_uint32 * 128)]


class Batch(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_int32),
        ("tokens", ctypes.POINTER(ctypes.c_int32)),
        ("embeddings", ctypes.c_void_p),
        ("positions", ctypes.POINTER(ctypes.c_int32)),
        ("sequence_counts", ctypes.POINTER(ctypes.c_int32)),
        ("sequences", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("wants_logits", ctypes.POINTER(ctypes.c_int8)),
    ]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
# The first fields of the context's parameters and their defaults: n_ctx, n_batch, n_ubatch, n_seq_max.
CONTEXT_DEFAULTS = [512, 2048, 512, 1]


class Library:
    def __init__(self, folder):
        def one(pattern):
            return sorted(glob.glob(os.path.join(folder, pattern)))[0]

        self.base = ctypes.CDLL(one("libggml-base*.so"), mode=ctypes.RTLD_GLOBAL)
        ggml = ctypes.CDLL(one("libggml.*so"), mode=ctypes.RTLD_GLOBAL)
        self.llama = ctypes.CDLL(one("libllama.*so"))
        self.quiet = LOG(lambda level, text, data: None)
        self.llama.llama_log_set(self.quiet, None)
        ggml.ggml_backend_load_all_from_path(folder.encode())
        pointers = ["llama_model_load_from_file", "llama_init_from_model", "llama_model_get_vocab"]
        for name in pointers:
            getattr(self.llama, name).restype = ctypes.c_void_p
        for name in ["llama_model_default_params", "llama_context_default_params"]:
            getattr(self.llama, name).restype = Parameters
        self.llama.llama_batch_init.restype = Batch
        self.llama.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)

    def open(self, path):
        model = self.llama.llama_model_load_from_file(path.encode(), self.llama.llama_model_default_params())
        if not model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        return Model(self, ctypes.c_void_p(model))

    def quantize(self, kind, rows):
        """Rows of f32 in ggml's type of that number."""
        rows = numpy.ascontiguousarray(rows, numpy.float32)
        self.base.ggml_row_size.restype = ctypes.c_size_t
        size = self.base.ggml_row_size(kind, ctypes.c_int64(rows.shape[1])) * rows.shape[0]
        stored = numpy.empty(size, numpy.uint8)
        # Importance of each column, as k-quants may have it: none.
        self.base.ggml_quantize_chunk(
            kind, rows.ctypes.data_as(ctypes.c_void_p), stored.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(0), ctypes.c_int64(rows.shape[0]), ctypes.c_int64(rows.shape[1]), None,
        )
        return stored.reshape(rows.shape[0], -1)


class Model:
    def __init__(self, library, model):
        # The library's own callback for what it logs must live as long as it is called.
        self.library, self.llama, self.model = library, library.llama, model
        self.vocabulary = ctypes.c_void_p(self.llama.llama_model_get_vocab(model))
        self.size = self.llama.llama_vocab_n_tokens(self.vocabulary)

    def tokens(self, text):
        text = text.encode()
        room = (ctypes.c_int32 * (len(text) + 8))()
        count = self.llama.llama_tokenize(self.vocabulary, text, len(text), room, len(room), True, True)
        return list(room[:count])

    def logits(self, tokens):
        context = self.context(max(512, len(tokens)), len(tokens))
        batch = self.llama.llama_batch_init(len(tokens), 0, 1)
        batch.count = len(tokens)
        for at, token in enumerate(tokens):
            batch.tokens[at], batch.positions[at] = token, at
            batch.sequence_counts[at], batch.sequences[at][0], batch.wants_logits[at] = 1, 0, 1
        if self.llama.llama_decode(context, batch) != 0:
            raise RuntimeError("llama.cpp does not decode")
        rows = [self.llama.llama_get_logits_ith(context, at)[: self.size] for at in range(len(tokens))]
        self.llama.llama_batch_free(batch)
        self.llama.llama_free(context)
        return numpy.array(rows, numpy.float32)

    def rates(self, threads, prompt, answer, sequences):
        """Tokens a second of a prompt, and of so many answers that go on together, a token each a step."""
        context = self.context(sequences * (prompt + answer + 32), prompt, sequences)
        self.llama.llama_set_n_threads(context, threads, threads)
        room = max(prompt, sequences)
        batch = self.llama.llama_batch_init(room, 0, 1)

        def decode(rows):
            batch.count = len(rows)
            for at, (token, position, sequence, wanted) in enumerate(rows):
                batch.tokens[at], batch.positions[at] = token % self.size, position
                batch.sequence_counts[at], batch.sequences[at][0], batch.wants_logits[at] = 1, sequence, wanted
            begun = time.monotonic()
            if self.llama.llama_decode(context, batch) != 0:
                raise RuntimeError("llama.cpp does not decode")
            self.llama.llama_synchronize(context)
            return time.monotonic() - begun

        prefill = min(
            decode([(at * 7919, at, sequence, at == prompt - 1) for at in range(prompt)]) for sequence in range(sequences)
        )
        steps = sum(
            decode([(sequence * 104729, at, sequence, 1) for sequence in range(sequences)]) for at in range(prompt, prompt + answer)
        )
        self.llama.llama_batch_free(batch)
        self.llama.llama_free(context)
        return prompt / prefill, sequences * answer / steps

    def context(self, tokens, rows, sequences=1):
        parameters = self.llama.llama_context_default_params()
        if list(parameters.words[:4]) != CONTEXT_DEFAULTS:
            raise RuntimeError(f"another llama.cpp than this script knows: {list(parameters.words[:4])}")
        parameters.words[:4] = [tokens, rows, rows, sequences]
        context = self.llama.llama_init_from_model(self.model, parameters)
        if not context:
            raise RuntimeError("llama.cpp makes no context")
        return ctypes.c_void_p(context)

    def close(self):
        self.llama.llama_model_free(self.model)
