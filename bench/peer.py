#!/usr/bin/env python3
"""A worker of the benchmark in PyTorch: the same model, weights, batch and optimiser.

    peer.py NAME=VALUE...    names as in bench/task.c, and: style=STYLE import=FOLDER

In precision=bf16 forward and loss run under autocast.

FOLDER holds what `step export=FOLDER` wrote. Commands and answers are those of bench/step.c; what
PyTorch cannot tell (peak, FLOPs, bytes) is 0. The driver compares the losses with those of
motbench and prints no ratio unless they agree.

This is what a user would write today: fused attention (is_causal), fused AdamW, cached rotations.
STYLE is a comma-separated list of
    compile   torch.compile around forward and loss; else eager
    mask      mot: boolean masks, and q, k, v merged one by one, as the paper's public code intends
              (its files do not run as published); else index_select and index_copy with indices
              made once, q, k, v merged together
    padded    switch: experts as one batched product over buffers of `capacity` rows; else a loop
              over experts that gathers and scatters
"""

import json
import math
import os
import pathlib
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

EPS, ROPE_BASE = 1e-5, 10000.0
CAPACITY, BALANCE = 1.25, 0.01


def read_task(words):
    task = dict(arch="dense", width=128, layers=6, heads=4, batch=8, len=256, vocab=2048,
                experts=4, threads=1, mix="50,50", style="",
                backend="cpu", precision="fp32")
    for word in words:
        name, _, value = word.partition("=")
        task[name] = int(value) if isinstance(task.get(name), int) else value
    task["style"] = set(task["style"].split(","))
    return task


def read_safetensors(path):
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    out = {}
    for name, t in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            first, end = t["data_offsets"]
            out[name] = np.frombuffer(raw[8 + size + first : 8 + size + end], "<f4").reshape(
                t["shape"]
            )
    return out


class Model:
    """Parameters in motbench's names; each slice of a part is a parameter of its own."""

    def __init__(self, task, weights, token, modality):
        self.__dict__.update({k: task[k] for k in ("arch", "heads", "layers", "experts", "style")})
        self.w = {}
        for name, x in weights.items():
            self.w[name] = [torch.tensor(s.copy(), device=token.device, requires_grad=True)
                            for s in self.slices(name, x)]
        self.token, self.modality = token, modality.reshape(-1)
        target = torch.full_like(token, -1)
        target[:, :-1] = token[:, 1:]
        self.target = target.reshape(-1)
        self.rows = [torch.nonzero(self.modality == m).squeeze(1)
                     for m in range(int(modality.max()) + 1)]
        e = task["width"] // task["heads"]
        power = -2.0 * torch.arange(e // 2, dtype=torch.float64) / e
        angle = torch.arange(task["len"], dtype=torch.float64)[:, None] * ROPE_BASE**power
        self.cos = torch.cos(angle).float().repeat(1, 2).to(token.device)  # (L, e)
        self.sin = torch.cat([-torch.sin(angle), torch.sin(angle)], 1).float().to(token.device)
        self.balance = []

    def slices(self, name, x):
        """What is a parameter of its own; one batched product wants all experts in one."""
        whole = x.ndim == 2 and not name.endswith("norm")  # embedding, head, router
        batched = "padded" in self.style and x.ndim == 3 and "feed_forward." in name
        return [x] if whole or batched else list(x)

    def norm(self, x, name, g=0):
        return F.rms_norm(x, x.shape[-1:], self.w[name][g], EPS)

    def rotate(self, x):  # (B, H, L, e), half-split
        half = x.shape[-1] // 2
        return x * self.cos + torch.cat([x[..., half:], x[..., :half]], -1) * self.sin

    def qkv(self, x, at, g=0):
        """q, k (normalised), v of rows X: each (rows, H, e)."""
        q, k, v = F.linear(x, self.w[at + "qkv"][g]).view(len(x), 3, self.heads, -1).unbind(1)
        return self.norm(q, at + "q_norm", g), self.norm(k, at + "k_norm", g), v

    def attend(self, q, k, v):  # (T, H, e) each; returns (T, D)
        b, l = self.token.shape
        q, k, v = (t.reshape(b, l, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        return y.transpose(1, 2).reshape(b * l, -1)

    def project(self, y, at, g=0):
        return self.norm(F.linear(y, self.w[at + "out"][g]), at + "norm", g)

    def expert(self, x, at, g=0):
        a, b = F.linear(x, self.w[at + "up"][g]).chunk(2, -1)
        return F.linear(F.silu(a) * b, self.w[at + "down"][g])

    # ---- by modality --------------------------------------------------------------------------

    def split(self, x):
        if "mask" in self.style:
            return [x[self.modality == m] for m in range(len(self.rows))]
        return [x.index_select(0, r) for r in self.rows]

    def merge(self, parts):
        out = parts[0].new_empty(len(self.modality), *parts[0].shape[1:])
        for m, part in enumerate(parts):
            if "mask" in self.style:
                out[self.modality == m] = part
            else:
                out = out.index_copy(0, self.rows[m], part)
        return out

    def mot_layer(self, x, a, b):
        parts = [self.qkv(p, a, m) for m, p in enumerate(self.split(x))]
        if "mask" in self.style:
            q, k, v = (self.merge(list(t)) for t in zip(*parts))
        else:
            q, k, v = self.merge([torch.stack(p, 1) for p in parts]).unbind(1)
        y = self.attend(q, k, v)
        x = x + self.merge([self.project(p, a, m) for m, p in enumerate(self.split(y))])
        return x + self.merge([self.norm(self.expert(p, b, m), b + "norm", m)
                               for m, p in enumerate(self.split(x))])

    # ---- by router ----------------------------------------------------------------------------

    def switch(self, x, b):
        score = torch.softmax(F.linear(x, self.w[b + "router"][0]), -1)
        gate, choice = score.max(-1)
        hot = F.one_hot(choice, self.experts)
        self.balance.append(self.experts * (hot.float().mean(0) * score.mean(0)).sum())
        limit = math.ceil(CAPACITY * len(x) / self.experts)
        slot = (hot.cumsum(0) * hot).sum(-1) - 1  # of each row in its expert's buffer
        kept = slot < limit
        if "padded" in self.style:
            return self.padded(x, b, gate, torch.where(kept, choice * limit + slot, -1), limit)
        out = torch.zeros_like(x)
        for e in range(self.experts):
            rows = torch.nonzero((choice == e) & kept).squeeze(1)
            y = self.norm(self.expert(x[rows], b, e), b + "norm")
            out = out.index_add(0, rows, (gate[rows, None] * y).to(out.dtype))  # autocast has several
        return out

    def padded(self, x, b, gate, slot, limit):
        """SLOT: of each row in the buffers; -1: dropped, which goes to one row beyond them."""
        spare = self.experts * limit
        slot = torch.where(slot < 0, spare, slot)
        buffer = x.new_zeros(spare + 1, x.shape[1]).index_copy(0, slot, x)[:-1]
        buffer = buffer.view(self.experts, limit, -1)
        p, q = torch.bmm(buffer, self.w[b + "up"][0].transpose(1, 2)).chunk(2, -1)
        y = torch.bmm(F.silu(p) * q, self.w[b + "down"][0].transpose(1, 2)).view(spare, -1)
        y = torch.cat([self.norm(y, b + "norm"), y.new_zeros(1, y.shape[1])])
        return gate[:, None] * y.index_select(0, slot)

    # ---- the whole ----------------------------------------------------------------------------

    def loss(self):
        """(cross-entropy, what is minimised)"""
        self.balance = []
        x = F.embedding(self.token.reshape(-1), self.w["embed"][0])
        for n in range(self.layers):
            a, b = f"layers.{n}.attention.", f"layers.{n}.feed_forward."
            if self.arch == "mot":
                x = self.mot_layer(x, a, b)
                continue
            x = x + self.project(self.attend(*self.qkv(x, a)), a)
            x = x + (self.switch(x, b) if self.arch == "switch"
                     else self.norm(self.expert(x, b), b + "norm"))
        logits = F.linear(self.norm(x, "norm"), self.w["head"][0])
        loss = F.cross_entropy(logits, self.target, ignore_index=-1)
        return loss, loss + BALANCE * sum(self.balance) if self.balance else loss


def make_optimizer(model):
    """As mb_task_optimizer(): embeddings and norms do not decay."""
    groups = ([], [])
    for name, slices in model.w.items():
        groups[name == "embed" or name.endswith("norm")].extend(slices)
    return torch.optim.AdamW(
        [dict(params=groups[0], weight_decay=0.1), dict(params=groups[1], weight_decay=0.0)],
        lr=3e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)


def queued_ns():
    """Time that this process' threads have waited for a processor."""
    total = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            total += int(pathlib.Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1])
        except OSError:  # it has ended
            pass
    return total


def main():
    task = read_task(sys.argv[1:])
    torch.set_num_threads(task["threads"])
    folder = pathlib.Path(task["import"])
    batch = np.fromfile(folder / "batch.i32", "<i4").reshape(2, task["batch"], task["len"])
    device = "cuda" if task["backend"] == "cuda" else "cpu"
    token, modality = (torch.from_numpy(x.astype(np.int64)).to(device) for x in batch)
    model = Model(task, read_safetensors(folder / "weights.safetensors"), token, modality)
    optimizer = make_optimizer(model)
    params = [p for slices in model.w.values() for p in slices]
    loss_of = torch.compile(model.loss) if "compile" in task["style"] else model.loss
    half = torch.autocast(device, dtype=torch.bfloat16, enabled=task["precision"] == "bf16")
    for line in sys.stdin:
        if line != "step\n":
            sys.exit(f"peer.py: found {line!r}, expected step")
        queued, cpu, wall = queued_ns(), time.process_time_ns(), time.monotonic_ns()
        with half:
            loss, total = loss_of()
        total.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        wall, cpu = time.monotonic_ns() - wall, time.process_time_ns() - cpu
        print(wall, cpu, queued_ns() - queued, 0, value, 0, 0, 0, 0, flush=True)


if __name__ == "__main__":
    main()
