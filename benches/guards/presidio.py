#!/usr/bin/env python3
"""Presidio's pattern recognizers on the corpus of guards/tests/corpus.rs, beside dsgate's detectors.

    CORPUS=/tmp/corpus.jsonl cargo test -p guards --test corpus
    cargo run --release -p guards --example scan_speed /tmp/corpus.jsonl
    python3 -m venv venv && venv/bin/pip install presidio-analyzer==2.2.* && venv/bin/python benches/guards/presidio.py /tmp/corpus.jsonl

No language model: recognizers only, each in the languages it knows. A value counts as found if a result of its entity
covers it; results of other entities or of decoys are counted as wrong. Presidio scores what it finds: all of it counts
for recall, and for precision what has at least 0.4 (its own default would be 0, which takes every number).
"""

import json
import logging
import sys
import time
from collections import defaultdict

from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    DateRecognizer,
    EmailRecognizer,
    EsNieRecognizer,
    EsNifRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UsSsnRecognizer,
)

# Entity of the corpus -> recognizer and the name it uses.
RECOGNIZERS = {
    "EMAIL_ADDRESS": (EmailRecognizer(), "EMAIL_ADDRESS"),
    "PHONE_NUMBER": (PhoneRecognizer(supported_regions=("DE", "ES", "US", "GB")), "PHONE_NUMBER"),
    "CREDIT_CARD": (CreditCardRecognizer(), "CREDIT_CARD"),
    "IBAN_CODE": (IbanRecognizer(), "IBAN_CODE"),
    "US_SSN": (UsSsnRecognizer(), "US_SSN"),
    "IP_ADDRESS": (IpRecognizer(), "IP_ADDRESS"),
    "DATE_OF_BIRTH": (DateRecognizer(), "DATE_TIME"),
    "ES_NIF": (EsNifRecognizer(), "ES_NIF"),
    "ES_NIE": (EsNieRecognizer(), "ES_NIE"),
}


def main(path):
    logging.disable()  # the list of domains is looked for in the network, and found in the package
    sentences = [json.loads(line) for line in open(path, encoding="utf-8")]
    found, total, wrong = defaultdict(int), defaultdict(int), defaultdict(int)
    for recognizer, name in RECOGNIZERS.values():  # what is loaded at the first call is not timed
        recognizer.analyze("a@example.com 1", [name], None)
    began = time.perf_counter()
    for sentence in sentences:
        for entity, (recognizer, name) in RECOGNIZERS.items():
            results = recognizer.analyze(sentence["text"], [name], None) or []
            if entity == sentence["entity"]:
                total[entity] += 1
                found[entity] += any(r.start <= sentence["start"] and r.end >= sentence["end"] for r in results)
            else:
                wrong[entity] += any(r.score >= 0.4 for r in results)
    seconds = time.perf_counter() - began
    size = sum(len(sentence["text"].encode()) for sentence in sentences)
    for entity in RECOGNIZERS:
        precision = found[entity] / max(1, found[entity] + wrong[entity])
        print(f"{entity:<18} recall {found[entity] / total[entity]:.3f} precision {precision:.3f}")
    print(f"{size / seconds / 1e6:.3f} MB/s, {len(RECOGNIZERS)} recognizers")


if __name__ == "__main__":
    main(*sys.argv[1:])
