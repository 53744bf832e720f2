#!/usr/bin/env python3
"""dsserve beside llama.cpp, number by number: the same GGUF files, the same tokens, the logits after each of them.

    npm install --prefix NPM @node-llama-cpp/linux-x64
    python3 -m venv VENV && VENV/bin/pip install gguf numpy
    cargo build --release -p daemon --example logits
    VENV/bin/python benches/correctness.py --ours target/release/examples/logits \\
        --llama NPM/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64 [--model SMOLLM2.gguf]

Three are compared: llama.cpp, which rounds the inputs of its products to eight bits; dsserve's two ways, as a prompt is
computed and as an answer is; and, as the truth for all of them, llama.cpp on the same weights expanded to f32.

Ends with 1 if a text is cut in another way, if dsserve's mean divergence (Kullback and Leibler's) from the truth or from
llama.cpp is 0.01 nat or more, or if the likeliest token is not the truth's at 99% of the decided places: those where the
truth prefers its first token to its second by 0.3 nat. Elsewhere any rounding may pick the other one, llama.cpp's too; the
share over all places is shown for both.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy

import llama_cpp
import tiny_models

TEXT = """In the beginning there was a plan: 12 machines, 345 disks and 6789 lines of text that nobody had read to its end.
"Don't," she said, "we'll see what THE others've done."  He didn't; they're late, I'd say.

\tdef f(x):\n\t\treturn x**2 + 10.5e3   # 100%\r\n
Größe, naïve, señor; 日本語の文章、한국어 문장, 中文句子。 кот и пёс… ¿Qué? 🙂🙂 "quoted" 1,000,000.00 $5 <|im_start|>user
The sea was calm that morning, and the fishermen went out before the sun had risen above the hills in the east. When they
came back in the evening, their boats were full, and the children ran down to the harbour to see what they had caught.
A market was held on the square each Saturday, where bread, cheese, apples and cloth were sold until it grew dark.
"""
PRES = ["llama-bpe", "qwen2", "deepseek-r1-qwen", "deepseek-llm", "deepseek-coder", "deepseek-v3", "smollm", "gpt-2", "default"]
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
SCALINGS = [("llama", "linear"), ("llama", "llama3"), ("llama", "yarn"), ("qwen2", "yarn"), ("qwen3", "yarn")]
LEAST_AGREEMENT, MOST_DIVERGENCE, DECIDED = 0.99, 0.01, 0.3
# llama.cpp takes this space for another character before it looks at these patterns; the models' own tokenizers do not.
PLAIN_SPACES = ["deepseek-llm", "deepseek-coder"]
WIDE_SPACE = "A wide\u3000space \u3000 and\u3000\u3000two.\n"


def run(program, mode, path, text):
    done = subprocess.run([program, mode, path], input=text.encode(), capture_output=True)
    if done.returncode:
        raise SystemExit(f"{path}: {done.stderr.decode()}")
    return done.stdout


def our_tokens(program, path, text):
    return [int(line) for line in run(program, "tokens", path, text).split()]


def our_logits(program, mode, path, tokens, size):
    written = run(program, mode, path, " ".join(map(str, tokens)))
    return numpy.frombuffer(written, "<f4").reshape(len(tokens), size)


def log_softmax(logits):
    logits = logits.astype(numpy.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))


def divergence(truth, other):
    truth, other = log_softmax(truth), log_softmax(other)
    return (numpy.exp(truth) * (truth - other)).sum(axis=1).mean()


def agreement(truth, other):
    """Share of places with the same likeliest token: of all, and of the decided ones."""
    first_two = numpy.sort(truth, axis=1)[:, -2:]
    decided = first_two[:, 1] - first_two[:, 0] >= DECIDED
    same = truth.argmax(axis=1) == other.argmax(axis=1)
    return same.mean(), same[decided].mean()


def expand(source, path):
    """The same model with all its weights in f32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.get_field("general.architecture").contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, values.reshape(tuple(reversed(tensor.shape.tolist()))).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Comparison:
    def __init__(self, options):
        self.ours, self.library, self.failed = options.ours, llama_cpp.Library(options.llama), []

    def tokens(self, name, path):
        model = self.library.open(path)
        text = TEXT if name in PLAIN_SPACES else TEXT + WIDE_SPACE
        theirs, ours = model.tokens(text), our_tokens(self.ours, path, text)
        model.close()
        if theirs != ours:
            at = next((at for at, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1]), min(len(theirs), len(ours)))
            self.failed.append(f"{name}: token {at} is {ours[at:at + 3]}, llama.cpp's {theirs[at:at + 3]}")
        print(f"| {name} | {len(theirs)} | {'the same' if theirs == ours else 'OTHERS'} |", flush=True)

    def logits(self, name, path):
        expanded = path + ".f32"
        expand(path, expanded)
        tokens, theirs = self.theirs(path)
        _, truth = self.theirs(expanded)
        Path(expanded).unlink()
        cells = ["%.1f%%" % (100 * agreement(truth, theirs)[0]), f"{divergence(truth, theirs):.1e}"]
        for mode in ("prompt", "answer"):
            ours = our_logits(self.ours, mode, path, tokens, truth.shape[1])
            of_all, of_decided = agreement(truth, ours)
            from_truth, from_theirs = divergence(truth, ours), divergence(theirs, ours)
            cells += [f"{of_all:.1%}", f"{of_decided:.1%}", f"{from_truth:.1e}", f"{from_theirs:.1e}"]
            if of_decided < LEAST_AGREEMENT or not max(from_truth, from_theirs) < MOST_DIVERGENCE:
                self.failed.append(f"{name}, {mode}: {of_decided:.2%} agree, {from_truth:.4f} and {from_theirs:.4f} nat apart")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)

    def theirs(self, path):
        model = self.library.open(path)
        tokens = model.tokens(TEXT)
        logits = model.logits(tokens)
        model.close()
        return tokens, logits


def stored(library, kind):
    if kind == gguf.GGMLQuantizationType.F32:
        return lambda values: values
    return lambda values: library.quantize(int(kind), values)


def write(comparison, folder, architecture, kind, **how):
    path = str(Path(folder) / "model.gguf")
    kind = gguf.GGMLQuantizationType[kind]
    tiny_models.write(path, architecture, kind, stored(comparison.library, kind), **how)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, metavar="PROGRAM", help="the example `logits`")
    parser.add_argument("--llama", required=True, metavar="FOLDER", help="where libllama is")
    parser.add_argument("--model", action="append", default=[], metavar="FILE", help="a real model to compare, too")
    options = parser.parse_args()
    comparison = Comparison(options)
    with tempfile.TemporaryDirectory() as folder:
        print("| way of cutting | tokens | ours |\n|---|---:|---|")
        for pre in PRES:
            comparison.tokens(pre, write(comparison, folder, "llama", "Q8_0", pre=pre))
        ours = [f"{mode}: {what}" for mode in ("prompt", "answer") for what in ("same", "decided", "nat", "nat from theirs")]
        print("\n| model | llama.cpp: same | nat | " + " | ".join(ours) + " |\n|---|" + "---:|" * 10)
        for architecture in ["llama", "qwen2", "qwen3"]:
            for kind in TYPES:
                comparison.logits(f"{architecture} {kind}", write(comparison, folder, architecture, kind))
        for architecture, scaling in SCALINGS:
            path = write(comparison, folder, architecture, "Q8_0", scaling=scaling)
            comparison.logits(f"{architecture} Q8_0, rope {scaling}", path)
        for real in options.model:
            path = Path(folder) / Path(real).name
            path.symlink_to(Path(real).resolve())
            comparison.logits(path.stem, str(path))
            comparison.tokens(path.stem, str(path))
    for failure in comparison.failed:
        print(failure, file=sys.stderr)
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
