"""Tiny GGUF files with random weights, for benches/correctness.py: each architecture, each type of weights, each way of
cutting texts. Their vocabulary is the 256 bytes and merges that reach wherever a way of cutting lets them."""

import gguf
import numpy

HIDDEN, WIDE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 256, 512, 3, 4, 2, 64
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CONTROL, NORMAL = 3, 1


def byte_names():
    """GPT-2's printable stand-ins for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable}
    names.update({byte: chr(256 + at) for at, byte in enumerate(others)})
    return names


def vocabulary():
    """Pairs of everything that stands in the texts, then pairs of those: where a text is cut shows in its tokens."""
    names = byte_names()
    plain = [names[byte] for byte in range(256)]
    kinds = "etaonis THE 0123 .,!?'\n\t\r" + "éüñ日本語한국中文кот\u3000"
    used = list(dict.fromkeys(names[byte] for character in kinds for byte in character.encode()))
    merges, tokens = [], list(plain)

    def add(left, right):
        if left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")

    known = set(plain)
    for left in used:
        for right in used:
            add(left, right)
    digits = [names[ord(digit)] for digit in "0123"]
    for left in digits:
        for right in digits:
            for last in digits:
                add(left + right, last)
    for left, right in [("th", "e"), ("TH", "E"), (names[32] + "t", "he"), ("..", ".."), (names[10] * 2, names[10] * 2)]:
        if left in known and right in known:
            add(left, right)
    return tokens + SPECIALS, merges


def write(path, architecture, matrix, stored, pre="smollm", scaling=None):
    """`stored` turns a matrix into bytes of the type `matrix`."""
    random = numpy.random.default_rng(7)
    writer = gguf.GGUFWriter(path, architecture)
    metadata(writer, pre, scaling)
    tokens, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([NORMAL] * (len(tokens) - len(SPECIALS)) + [CONTROL] * len(SPECIALS))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)

    def add(name, outputs, inputs, size=1.0):
        values = random.standard_normal((outputs, inputs)).astype(numpy.float32) * size / inputs**0.5
        writer.add_tensor(name, stored(values), raw_dtype=matrix)

    def vector(name, length, middle, spread):
        values = middle + spread * random.uniform(-1, 1, length)
        writer.add_tensor(name, values.astype(numpy.float32))

    add("token_embd.weight", len(tokens), HIDDEN, HIDDEN**0.5)
    # As sure of themselves as trained models are: of equally likely tokens any rounding picks another.
    add("output.weight", len(tokens), HIDDEN, 4.0)
    vector("output_norm.weight", HIDDEN, 1, 0.2)
    if scaling == "llama3":
        factors = numpy.where(numpy.arange(HEAD_DIM // 2) < 12, 1.0, 8.0)
        writer.add_tensor("rope_freqs.weight", factors.astype(numpy.float32))
    for layer in range(LAYERS):
        block(f"blk.{layer}.", architecture, add, vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata(writer, pre, scaling):
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_file_type(1)
    if scaling in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(128)


def block(prefix, architecture, add, vector):
    vector(prefix + "attn_norm.weight", HIDDEN, 1, 0.2)
    vector(prefix + "ffn_norm.weight", HIDDEN, 1, 0.2)
    for part, heads in [("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)]:
        add(f"{prefix}attn_{part}.weight", heads * HEAD_DIM, HIDDEN)
        if architecture == "qwen2":
            vector(f"{prefix}attn_{part}.bias", heads * HEAD_DIM, 0, 0.5)
        if architecture == "qwen3" and part != "v":
            vector(f"{prefix}attn_{part}_norm.weight", HEAD_DIM, 1, 0.2)
    add(prefix + "attn_output.weight", HIDDEN, HEADS * HEAD_DIM)
    add(prefix + "ffn_gate.weight", WIDE, HIDDEN)
    add(prefix + "ffn_up.weight", WIDE, HIDDEN)
    add(prefix + "ffn_down.weight", HIDDEN, WIDE)
