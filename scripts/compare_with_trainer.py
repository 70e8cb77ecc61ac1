"""Trains some cells of a finished run again with transformers' Trainer, plain PEFT and scikit-learn, on the same rows.

    python scripts/compare_with_trainer.py runs/vader-sentiment-1234abcd [--write docs/validation.md]

Only the row choice comes from lowres. Model, pooling, head, optimiser, schedule, batching, feature extraction and metrics
are written down again here with stock parts, in fp32, with seeds of their own: the two agree where each one's mean lies in
the other's reach, that is where the paired 95 % interval of their difference (draws x test groups) holds 0.
Exit code 1 if a cell disagrees.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from transformers import AutoModel, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.task import load_task
from lowres.models.backbone import find_backbone
from lowres.stats.variance import Block, block, interval

MARKS = "<!-- comparison:begin -->", "<!-- comparison:end -->"


class Sentence(torch.nn.Module):
    """A PEFT encoder, mean pooling, length 1, and a linear layer."""

    def __init__(self, folder: str, classes: int, lora: dict) -> None:
        super().__init__()
        base = AutoModel.from_pretrained(folder)
        targets = {"all": "all-linear", "attention": ["query", "key", "value", "attention.output.dense"]}
        names = targets.get(lora["linears"], ["query", "value"])
        config = LoraConfig(
            r=lora["rank"], lora_alpha=lora["alpha"], target_modules=names, task_type="FEATURE_EXTRACTION"
        )
        self.encoder = get_peft_model(base, config)
        self.head = torch.nn.Linear(base.config.hidden_size, classes)

    def vectors(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].float()
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict:
        logits = self.head(self.vectors(input_ids, attention_mask))
        loss = torch.nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return {"loss": loss, "logits": logits} if labels is not None else {"logits": logits}


class Quiet(Trainer):
    """The Trainer without dropout: the encoder stays in evaluation mode, as the recipe says."""

    def training_step(
        self, model: torch.nn.Module, inputs: dict, num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        model.encoder.eval()
        loss = self.compute_loss(model, inputs)
        self.accelerator.backward(loss)
        return loss.detach()


class Reference:
    """Stock training and scoring for one study."""

    def __init__(self, study: dict) -> None:
        self.study, self.task = study, load_task(study["task"])
        self.folder = str(find_backbone(study["backbone"]).folder)
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.position = {label: place for place, label in enumerate(self.task.labels)}
        self.recipe, self.scratch = study["recipe"], tempfile.mkdtemp()

    def coded(self, rows: Rows) -> Dataset:
        coded = self.tokenizer(list(rows.texts), truncation=True, max_length=self.recipe["max_length"])
        labels = [self.position[label] for label in rows.labels]
        return Dataset.from_dict(
            {"input_ids": coded["input_ids"], "attention_mask": coded["attention_mask"], "labels": labels}
        )

    def train(self, rows: Rows, seed: int, model: Sentence | None = None) -> Sentence:
        torch.manual_seed(seed)
        model = model or Sentence(self.folder, len(self.task.labels), self.study["lora"])
        recipe = self.recipe
        steps = max(recipe["min_steps"], -(-int(recipe["epochs"] * len(rows)) // recipe["batch"]))
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in model.encoder.parameters() if p.requires_grad], "lr": recipe["learning_rate"]},
                {"params": model.head.parameters(), "lr": recipe["head_learning_rate"]},
            ],
            weight_decay=0.0,
        )
        warm = round(recipe["warmup"] * steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm)))
        )
        arguments = TrainingArguments(
            self.scratch, max_steps=steps, per_device_train_batch_size=recipe["batch"], seed=seed, report_to=[], save_strategy="no",
            logging_strategy="no", disable_tqdm=True, max_grad_norm=0.0, use_cpu=not torch.cuda.is_available(),
        )  # fmt: skip
        Quiet(
            model, arguments, train_dataset=self.coded(rows), data_collator=DataCollatorWithPadding(self.tokenizer),
            optimizers=(optimizer, schedule),
        ).train()  # fmt: skip
        return model.eval()

    def answers(self, model: Sentence, rows: Rows) -> np.ndarray:
        """Predicted label positions, [rows]."""
        found = []
        with torch.inference_mode():
            for begin in range(0, len(rows), 64):
                coded = self.tokenizer(
                    list(rows.texts[begin : begin + 64]), truncation=True, max_length=self.recipe["max_length"], padding=True,
                    return_tensors="pt",
                )  # fmt: skip
                found.append(model(coded["input_ids"], coded["attention_mask"])["logits"].argmax(-1).numpy())
        return np.concatenate(found)

    def features(self, rows: Rows) -> np.ndarray:
        frozen = Sentence(self.folder, 2, self.study["lora"]).eval()
        with torch.inference_mode(), frozen.encoder.disable_adapter():
            coded = self.tokenizer(
                list(rows.texts),
                truncation=True,
                max_length=self.recipe["max_length"],
                padding=True,
                return_tensors="pt",
            )
            return frozen.vectors(coded["input_ids"], coded["attention_mask"]).numpy()


def group_sums(rows: Rows, truth: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """Confusion counts of each test group, [groups, classes squared]."""
    names, place = np.unique(np.array(rows.groups), return_inverse=True)
    sums = np.zeros((len(names), classes * classes))
    np.add.at(sums, (place, truth * classes + answers), 1)
    return sums


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """From confusion counts [..., classes squared]."""
    classes = int(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], classes, classes)
    right = np.einsum("...cc->...c", table)
    return (2 * right / np.maximum(table.sum(-1) + table.sum(-2), 1e-12)).mean(-1)


def main() -> None:
    """Compares and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--shots", type=int, default=32)
    parser.add_argument("--write", type=Path, help="a page whose table between the markers is replaced")
    options = parser.parse_args()
    study = yaml.safe_load((options.run / "study.yaml").read_text())
    cells = [json.loads(line) for line in (options.run / "cells.jsonl").read_text().splitlines()]
    reference, cap = Reference(study), study["provenance"]["row_cap"]
    task, source, store = reference.task, study["source"][0], Path(study["store"])
    tests = {
        name: splits.limit_test(task.name, task.domains[name].test, study["limit"])
        for name in (source, *study["target"])
    }
    ours: dict[tuple[str, str], list[np.ndarray]] = {}
    theirs: dict[tuple[str, str], list[np.ndarray]] = {}

    def note(method: str, domain: str, shots: int | None, draw: int, answers: np.ndarray) -> None:
        rows, truth = tests[domain], np.array([reference.position[label] for label in tests[domain].labels])
        cell = next(
            one for one in cells
            if (one["method"], one["target"], one["shots"], one["draw"]) == (method, domain, shots, draw)
            and one["source"] in (None, source)
        )  # fmt: skip
        stored = kept(store, cell["key"], rows)
        sklearn = f1_score(truth, stored.argmax(1), average="macro")
        assert abs(sklearn - cell["metrics"]["macro_f1"]) < 1e-9, "the score in cells.jsonl is not scikit-learn's"
        name = f"{method}{'' if not shots else f', {shots} shots'}", domain
        ours.setdefault(name, []).append(group_sums(rows, truth, stored.argmax(1), len(task.labels)))
        theirs.setdefault(name, []).append(group_sums(rows, truth, answers, len(task.labels)))

    for draw in range(study["seeds"]):
        pool = splits.cap(task.name, task.domains[source].train, cap, draw)
        started = reference.train(pool, 100 + draw)
        for domain in tests:
            note("source-only", domain, 0, draw, reference.answers(started, tests[domain]))
        weights = {name: value.clone() for name, value in started.state_dict().items()}
        for target in study["target"]:
            train = task.domains[target].train
            few = splits.shots(task.name, train, options.shots, draw)
            full = splits.cap(task.name, train, cap, draw)
            for method, shots, rows in (("target-full", None, full), ("target-only", options.shots, few)):
                note(method, target, shots, draw, reference.answers(reference.train(rows, 200 + draw), tests[target]))
            started.load_state_dict(weights)
            moved = reference.train(few, 300 + draw, started)
            note("source-then-target", target, options.shots, draw, reference.answers(moved, tests[target]))
            started.load_state_dict(weights)
            labels = np.array([reference.position[label] for label in few.labels])
            probe = LogisticRegression(max_iter=2000).fit(reference.features(few), labels)
            note("probe", target, options.shots, draw, probe.predict(reference.features(tests[target])))
            if any(one["method"] == "tfidf" for one in cells):
                words = TfidfVectorizer(
                    ngram_range=(1, 2), max_features=20_000, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]+"
                )
                model = LogisticRegression(max_iter=2000).fit(words.fit_transform(list(few.texts)), labels)
                note("tfidf", target, options.shots, draw, model.predict(words.transform(list(tests[target].texts))))
    table, agree = report(ours, theirs)
    print(table)
    if options.write:
        text = options.write.read_text()
        head, tail = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
        options.write.write_text(f"{head}{MARKS[0]}\n{table}\n{MARKS[1]}{tail}")
    raise SystemExit(0 if agree else 1)


def kept(store: Path, key: str, rows: Rows) -> np.ndarray:
    """Stored probabilities, read without lowres."""
    from safetensors.numpy import load_file

    return load_file(store / "predictions" / key / f"{rows.fingerprint}.safetensors")["probabilities"]


def report(ours: dict, theirs: dict) -> tuple[str, bool]:
    """A Markdown table, and whether every difference's interval holds 0."""
    lines = ["| cell | test domain | lowres | stock parts | difference [95 %] | agree |", "|:--|:--|--:|--:|--:|:--|"]
    agree = True
    for name in ours:
        mine: Block = block(np.stack(ours[name]), macro_f1)
        other: Block = block(np.stack(theirs[name]), macro_f1)
        gap = interval([mine - other])
        fine = gap.low <= 0 <= gap.high
        agree &= fine
        lines.append(
            f"| {name[0]} | {name[1]} | {mine.theta.mean():.3f} | {other.theta.mean():.3f} |"
            f" {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] | {'yes' if fine else 'NO'} |"
        )
    return "\n".join(lines), agree


if __name__ == "__main__":
    main()
