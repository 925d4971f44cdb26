#!/usr/bin/python3
"""Golden values: the models of motbench written a second time, in PyTorch, on tiny cases.

    generate.py [FOLDER]

writes one CASE.safetensors per row of CASES into FOLDER, or beside this file. README.md says what
is in them. Computed in float64 and stored as float32. A case is drawn again, from the next seed,
until every decision of its routers has a margin and PyTorch's own float32 run agrees with the
float64 one: what differs from a stored value is then an error and not the rounding of one.

Nothing here is taken from motbench's C code, whose formulas it is to check; autograd makes the
gradients.
"""

import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

TORCH = "1.13"  # Debian 12's python3-torch
STEPS = 10
MARGIN = 1e-4  # least distance between a router's scores where a decision is made
NOISE = 1.5e-6  # most that the float32 run may differ, see disagreement()
TEXT, IMAGE, MODALITIES = 0, 1, 2

# One row per architecture: which parts have a slice per modality, and who chooses in the router.
ARCHS = {
    "dense": dict(by_modality=(), choice=None),
    "switch": dict(by_modality=(), choice="token", top_k=1, renormalise=False),
    "gshard": dict(by_modality=(), choice="token", top_k=2, renormalise=True),
    "moe-ec": dict(by_modality=(), choice="expert"),
    "mot": dict(by_modality=("qkv", "out", "ffn", "norms"), choice=None),
    "mot-ffn": dict(by_modality=("ffn",), choice=None),
    "mot-ffn-qkv": dict(by_modality=("ffn", "qkv"), choice=None),
}

# Settings, named as in models/model.h. What C keeps as float is rounded to it before use.
DEFAULTS = dict(
    vocab=32, modalities=MODALITIES, width=8, layers=1, heads=2, ffn_width=7, norm="post",
    gate="outside", qk_norm=True, norm_eps=1e-5, rope_base=10000.0, z_loss=0.0, experts=4,
    capacity=0.0, eval_capacity=0.0, balance=0.0, router_z=0.0, score="softmax", group="batch",
    batch=2, len=12, micro_batches=1, lr=1e-2, beta1=0.9, beta2=0.95, eps=1e-8, decay=0.1,
    clip=0.0, decay_norms=False, decay_embeddings=False,
)
# Cases with patches have these, too.
PATCHES = dict(patch=3, patch_weight=5.0, prediction="epsilon", norm="pre")
TIME_FEATURES, NOISE_STEPS = 32, 1000
UNET = dict(PATCHES, patch=8, patch_side=2, unet_channels=4)
FLOATS = "norm_eps rope_base z_loss lr beta1 beta2 eps decay clip".split()

SWITCH = dict(arch="switch", capacity=1.5, balance=0.01)
EC = dict(arch="moe-ec", capacity=1.0, score="sigmoid")

CASES = {
    "dense-post": dict(arch="dense", layers=2),
    "dense-pre": dict(arch="dense", layers=2, norm="pre"),
    "switch-post": dict(SWITCH, layers=2),
    "switch-pre": dict(SWITCH, layers=2, norm="pre", eval_capacity=1.0),
    "moe-ec-post": dict(EC, layers=2),
    "moe-ec-pre": dict(EC, layers=2, norm="pre", group="sequence", eval_capacity=2.0),
    "mot-post": dict(arch="mot", layers=2),
    "mot-pre": dict(arch="mot", layers=2, norm="pre"),
    "gshard-post": dict(arch="gshard", capacity=1.0, balance=0.02, eval_capacity=1.0),
    "mot-ffn-post": dict(arch="mot-ffn"),
    "mot-ffn-qkv-pre": dict(arch="mot-ffn-qkv", norm="pre"),
    "switch-gate-inside": dict(SWITCH, experts=3, gate="inside"),
    "switch-router-losses": dict(SWITCH, experts=3, balance=0.1, router_z=0.05),
    "switch-drops": dict(SWITCH, experts=3, capacity=0.5, eval_capacity=0.5, micro_batches=2),
    "moe-ec-softmax": dict(EC, experts=3, score="softmax", router_z=0.02),
    "dense-z-loss": dict(arch="dense", z_loss=1e-2),
    "dense-no-qk-norm": dict(arch="dense", qk_norm=False, heads=1),
    "dense-decay-all": dict(arch="dense", decay=0.3, decay_norms=True, decay_embeddings=True),
    "dense-clip": dict(arch="dense", clip=0.5, norm="pre"),
    "mot-accumulate": dict(arch="mot", micro_batches=2),
    "dense-patches": dict(PATCHES, arch="dense", layers=2),
    "switch-patches": dict({**SWITCH, **PATCHES}, prediction="v"),
    "moe-ec-patches": dict({**EC, **PATCHES}),
    "mot-patches": dict(PATCHES, arch="mot", layers=2, micro_batches=2),
    "mot-unet": dict(UNET, arch="mot", micro_batches=2),
    "dense-unet": dict(UNET, arch="dense", patch=16, patch_side=4, unet_channels=3, len=16),
}


# ---- inputs -------------------------------------------------------------------------------------


def make_batch(c, random):
    """Packed documents of text and image tokens; (B, L) arrays named as in base/batch.h."""
    shape = (c["batch"], c["len"])
    b = {k: np.zeros(shape, np.int32) for k in ("token", "target", "position", "lo", "hi")}
    b["modality"] = np.zeros(shape, np.uint8)
    b["target_modality"] = np.zeros(shape, np.uint8)
    half = c["vocab"] // 2  # the lower half of the vocabulary is text
    for s in range(c["batch"]):
        kind = (random.random_sample(c["len"]) < 0.4).astype(np.uint8)
        token = random.randint(0, half, c["len"]) + half * kind
        starts = [0, int(random.randint(2, 5)), int(random.randint(6, 10)), c["len"]]
        b["token"][s], b["modality"][s] = token, kind
        for first, end in zip(starts, starts[1:]):
            for p in range(first, end):
                last = p == end - 1 or random.random_sample() < 0.1
                b["target"][s, p] = -1 if last else token[p + 1]
                b["target_modality"][s, p] = kind[p] if last else kind[p + 1]
                b["position"][s, p] = p - first
                b["lo"][s, p], b["hi"][s, p] = first, p
    return b


def add_patches(c, b, random):
    """Turns image tokens of B into patches: what follows one another is one image at one step."""
    shape = b["token"].shape
    b["clean"] = (2 * random.random_sample(shape + (c["patch"],)) - 1).astype(np.float32)
    b["drawn"] = random.standard_normal(shape + (c["patch"],)).astype(np.float32)
    b["noise"] = np.full(shape, -1, np.int32)
    is_image = b["modality"] == IMAGE
    b["target"][is_image | (b["target_modality"] == IMAGE)] = -1
    b["target_modality"][:] = TEXT
    for s, p in np.argwhere(is_image):
        if p > b["lo"][s, p] and is_image[s, p - 1]:
            continue  # not the first of its image
        end = p
        while end + 1 < shape[1] and is_image[s, end + 1] and b["lo"][s, end + 1] == b["lo"][s, p]:
            end += 1
        clean = random.random_sample() < 0.15
        b["noise"][s, p : end + 1] = 0 if clean else random.randint(1, NOISE_STEPS + 1)
        b["hi"][s, p : end + 1] = end
    return b


def noise_kept():
    """The cosine schedule of Nichol & Dhariwal 2021: what is left of an image after each step."""
    f = [math.cos((t / NOISE_STEPS + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(NOISE_STEPS + 1)]
    kept = [1.0]
    for t in range(1, NOISE_STEPS + 1):
        kept.append(kept[-1] * (1 - min(1 - f[t] / f[t - 1], 0.999)))
    return torch.tensor(kept, dtype=torch.float64)


def shapes(c):
    """Every parameter in the documented order, with its shape."""
    arch = ARCHS[c["arch"]]
    d, f, head = c["width"], c["ffn_width"], c["width"] // c["heads"]
    parts = ("qkv", "out", "ffn", "norms")
    slices = {p: MODALITIES if p in arch["by_modality"] else 1 for p in parts}
    routed = arch["choice"] is not None
    ffn = c["experts"] if routed else slices["ffn"]
    out = {"embed": (c["vocab"], d)}
    for n in range(c["layers"]):
        a, b = f"layers.{n}.attention.", f"layers.{n}.feed_forward."
        out[a + "norm"] = (slices["norms"], d)
        out[a + "qkv"] = (slices["qkv"], 3 * d, d)
        if c["qk_norm"]:
            out[a + "q_norm"] = (slices["norms"], head)
            out[a + "k_norm"] = (slices["norms"], head)
        out[a + "out"] = (slices["out"], d, d)
        out[b + "norm"] = (slices["norms"], d)
        if routed:
            out[b + "router"] = (c["experts"], d)
        out[b + "up"] = (ffn, 2 * f, d)
        out[b + "down"] = (ffn, d, f)
    out["norm"] = (1, d)
    out["head"] = (c["vocab"], d)
    if "unet_channels" in c:
        out.update(unet_shapes(c))
    elif "patch" in c:
        out["patch.in"] = (d, c["patch"] + TIME_FEATURES)
        out["patch.out"] = (c["patch"], d)
    return out


def unet_shapes(c):
    d, k, pixels = c["width"], c["unet_channels"], c["patch_side"] ** 2
    last = int(math.log2(c["patch_side"]))
    block = {"time": (k, TIME_FEATURES), "norm": (1, k), "gated": (2 * k, 9 * k), "conv": (k, 9 * k)}
    out = {"unet.pixels": (k, 9 * c["patch"] // pixels)}
    for i in range(last + 1):
        out.update({f"unet.down.{i}.{name}": shape for name, shape in block.items()})
        if i < last:
            out[f"unet.down.{i}.halve"] = (k, 4 * k)
    out.update({"unet.down.norm": (1, k), "patch.in": (d, k), "unet.enter": (k, d)})
    for i in reversed(range(last + 1)):
        out[f"unet.up.{i}.skip"] = (k, k)
        out.update({f"unet.up.{i}.{name}": shape for name, shape in block.items()})
        if i > 0:
            out[f"unet.up.{i}.twice"] = (4 * k, k)
    out.update({"unet.up.norm": (1, k), "patch.out": (c["patch"], pixels * k)})
    return out


def draw(c, random):
    params = {}
    for name, shape in shapes(c).items():
        x = random.standard_normal(shape)
        if is_norm(name):
            x = 1 + 0.2 * x
        elif name != "embed":
            x = x * (1.5 if name.endswith("router") else 1.0) / math.sqrt(shape[-1])
        params[name] = x.astype(np.float32)
    return params


def is_norm(name):
    return name.endswith("norm")


# ---- the model ----------------------------------------------------------------------------------


class UNet:
    """From patches of images to rows and back, image by image, with convolutions of squares."""

    def __init__(self, c, weights, images, patches, time):
        """IMAGES: the indices of each one's PATCHES (n, S), whose steps have features TIME."""
        self.c, self.w, self.images, self.patches, self.time = c, weights, images, patches, time
        self.last = int(math.log2(c["patch_side"]))
        self.skips = []

    def norm(self, x, name):
        scale = torch.sqrt((x * x).mean(0, keepdim=True) + self.c["norm_eps"])
        return self.w[name].reshape(-1, 1, 1) * x / scale

    def square(self, rows, side):
        """ROWS (n, SIDE * SIDE * k) of one image as (k, H, W): patches in lines, then pixels in
        lines; and which of the pixels are there."""
        across = math.ceil(math.sqrt(len(rows)))
        full = torch.zeros((across**2, rows.shape[1]), dtype=rows.dtype)
        full = full.index_add(0, torch.arange(len(rows)), rows)
        x = full.reshape(across, across, side, side, -1).permute(4, 0, 2, 1, 3)
        there = (torch.arange(across**2) < len(rows)).reshape(across, 1, across, 1)
        there = there.expand(across, side, across, side)
        size = across * side
        return x.reshape(-1, size, size), there.reshape(size, size).to(rows.dtype)

    def conv(self, x, there, name):
        w = self.w[name]
        w = w.reshape(len(w), 3, 3, -1).permute(0, 3, 1, 2)
        return F.conv2d((x * there).unsqueeze(0), w, padding=1)[0]

    def block(self, x, there, time, name):
        time, _ = self.square(time @ self.w[name + "time"].T, 1)
        x = x + time.repeat_interleave(x.shape[1] // time.shape[1], 1).repeat_interleave(
            x.shape[1] // time.shape[1], 2
        )
        a, b = self.conv(self.norm(x, name + "norm"), there, name + "gated").chunk(2)
        return x + self.conv(F.silu(a) * b, there, name + "conv")

    def down(self):
        """What the hidden state gets, (patches, D)."""
        k, side = self.c["unet_channels"], self.c["patch_side"]
        out = torch.zeros((len(self.patches), self.c["width"]), dtype=self.w["patch.in"].dtype)
        for of in self.images:
            pixels, there = self.square(self.patches[of], side)
            x, skips = self.conv(pixels, there, "unet.pixels"), []
            for i in range(self.last + 1):
                x = self.block(x, there, self.time[of], f"unet.down.{i}.")
                skips.append((x, there))
                if i < self.last:
                    w = self.w[f"unet.down.{i}.halve"].reshape(k, 2, 2, k).permute(0, 3, 1, 2)
                    x, there = F.conv2d(x.unsqueeze(0), w, stride=2)[0], there[::2, ::2]
            self.skips.append(skips)
            rows = self.norm(x, "unet.down.norm").reshape(k, -1).T[: len(of)]
            out = out.index_add(0, of, rows @ self.w["patch.in"].T)
        return out

    def up(self, hidden):
        """The predictions of all patches, (patches, S), from rows HIDDEN (patches, D)."""
        k, side = self.c["unet_channels"], self.c["patch_side"]
        out = torch.zeros((len(hidden), self.c["patch"]), dtype=hidden.dtype)
        for of, skips in zip(self.images, self.skips):
            x, _ = self.square(hidden[of] @ self.w["unet.enter"].T, 1)
            for i in reversed(range(self.last + 1)):
                skip, there = skips[i]
                x = x + torch.einsum("nk,khw->nhw", self.w[f"unet.up.{i}.skip"], skip)
                x = self.block(x, there, self.time[of], f"unet.up.{i}.")
                if i > 0:
                    w = self.w[f"unet.up.{i}.twice"].reshape(2, 2, k, k).permute(3, 2, 0, 1)
                    x = F.conv_transpose2d(x.unsqueeze(0), w, stride=2)[0]
            x = self.norm(x, "unet.up.norm")
            w = self.w["patch.out"].reshape(-1, side * side, k)[:, z_order(side)]
            w = w.reshape(-1, side, side, k).permute(0, 3, 1, 2)
            rows = F.conv2d(x.unsqueeze(0), w, stride=side)[0].reshape(self.c["patch"], -1).T
            out = out.index_add(0, of, rows[: len(of)])
        return out


def z_order(side):
    """Where each pixel of a square, in lines, is in Z-order."""
    bits = range(int(math.log2(side)))
    return [
        sum((x >> b & 1) << 2 * b | (y >> b & 1) << 2 * b + 1 for b in bits)
        for y in range(side) for x in range(side)
    ]


class Pass:
    """One forward pass over one batch: parameters, indices, and what the routers did."""

    def __init__(self, c, params, batch, training):
        self.c, self.arch, self.w, self.training = c, ARCHS[c["arch"]], params, training
        floats = ("clean", "drawn")
        self.batch = {
            k: torch.from_numpy(v if k in floats else v.astype(np.int64)) for k, v in batch.items()
        }
        self.modality = self.batch["modality"].reshape(-1)
        self.rows = torch.arange(self.modality.numel())
        self.balance, self.z, self.asked, self.dropped = [], [], 0, 0
        self.margin = math.inf

    def slice_of(self, part, rows):
        """Which slice of PART each of ROWS uses."""
        m = self.modality[rows]
        return m if part in self.arch["by_modality"] else torch.zeros_like(m)

    def norm(self, x, name, rows):
        w = self.w[name][self.slice_of("norms", rows)]
        while w.dim() < x.dim():
            w = w.unsqueeze(1)  # heads share a weight
        return w * x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.c["norm_eps"])

    def linear(self, x, name, part):
        w = self.w[name][self.slice_of(part, self.rows)]
        return torch.einsum("tnk,tk->tn", w, x)

    def rotate(self, x):
        e = x.shape[-1]
        power = -2.0 * torch.arange(e // 2, dtype=torch.float64) / e
        angle = self.batch["position"].reshape(-1, 1).double() * self.c["rope_base"] ** power
        cos, sin = (g.to(x.dtype).unsqueeze(1) for g in (torch.cos(angle), torch.sin(angle)))
        a, b = x[..., : e // 2], x[..., e // 2 :]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    def attention(self, x, at):
        c = self.c
        b, l, h, d = c["batch"], c["len"], c["heads"], c["width"]
        q, k, v = (t.reshape(-1, h, d // h) for t in self.linear(x, at + "qkv", "qkv").split(d, 1))
        if c["qk_norm"]:
            q, k = self.norm(q, at + "q_norm", self.rows), self.norm(k, at + "k_norm", self.rows)
        q, k, v = (t.reshape(b, l, h, d // h) for t in (self.rotate(q), self.rotate(k), v))
        where = torch.arange(l)
        sees = (where >= self.batch["lo"].unsqueeze(-1)) & (where <= self.batch["hi"].unsqueeze(-1))
        score = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(d // h)
        score = score.masked_fill(~sees.unsqueeze(1), -math.inf)
        y = torch.einsum("bhqk,bkhe->bqhe", torch.softmax(score, -1), v).reshape(-1, d)
        return self.linear(y, at + "out", "out")

    def capacity(self):
        c = self.c
        if self.training or (self.arch["choice"] == "expert" and c["eval_capacity"] == 0):
            return c["capacity"]
        return c["eval_capacity"]

    def choose(self, logits):
        """[(expert, rows, gates)]: what the router makes of LOGITS (T, E)."""
        score = torch.softmax(logits, 1) if self.c["score"] == "softmax" else torch.sigmoid(logits)
        if self.c["score"] == "softmax":
            self.z.append((torch.logsumexp(logits, 1) ** 2).mean())
        if self.arch["choice"] == "expert":
            return self.experts_choose(score)
        best = F.one_hot(score.argmax(1), self.c["experts"]).to(score.dtype).mean(0)
        self.balance.append(self.c["experts"] * (best * score.mean(0)).sum())
        return self.tokens_choose(score)

    def tokens_choose(self, score):
        n, e, k = len(score), self.c["experts"], self.arch["top_k"]
        factor = self.capacity()
        limit = math.ceil(factor * k * n / e) if factor > 0 else k * n
        best, index = score.sort(stable=True, dim=1, descending=True)
        self.margin = min(self.margin, float((best[:, :k] - best[:, 1 : k + 1]).min()))
        gate = best[:, :k]
        if self.arch["renormalise"]:
            gate = gate / gate.sum(1, keepdim=True)
        taken = [[] for _ in range(e)]
        for rank in range(k):
            for row in range(n):
                expert = int(index[row, rank])
                if len(taken[expert]) < limit:
                    taken[expert].append((row, rank))
        self.asked += n * k
        self.dropped += n * k - sum(map(len, taken))
        return [
            (i, torch.tensor([r for r, _ in t]), gate[[r for r, _ in t], [k for _, k in t]])
            for i, t in enumerate(taken) if t
        ]

    def experts_choose(self, score):
        e, out = self.c["experts"], []
        group = self.c["len"] if self.c["group"] == "sequence" else len(score)
        limit = min(group, math.ceil(self.capacity() * group / e))
        for expert in range(e):
            rows = []
            for start in range(0, len(score), group):
                of_group = score[start : start + group, expert]
                s, index = of_group.sort(stable=True, dim=0, descending=True)
                rows += (start + index[:limit]).tolist()
                if limit < group:
                    self.margin = min(self.margin, float(s[limit - 1] - s[limit]))
            out.append((expert, torch.tensor(rows), score[rows, expert]))
            self.asked += len(rows)
        return out

    def feed_forward(self, x, residual, at):
        """RESIDUAL plus the feed-forward of X."""
        if self.arch["choice"]:
            assigned = self.choose(x @ self.w[at + "router"].T)
        else:
            s = self.slice_of("ffn", self.rows)
            assigned = [(int(g), self.rows[s == g], None) for g in s.unique()]
        post, outside = self.c["norm"] == "post", self.c["gate"] == "outside"
        y = torch.zeros_like(x)
        for g, rows, gate in assigned:
            a, b = (x[rows] @ self.w[at + "up"][g].T).split(self.c["ffn_width"], 1)
            h = (F.silu(a) * b) @ self.w[at + "down"][g].T
            if post and outside:
                h = self.norm(h, at + "norm", rows)
            y = y.index_add(0, rows, h if gate is None else gate.unsqueeze(1) * h)
        if post and not outside:
            y = self.norm(y, at + "norm", self.rows)
        return residual + y

    def add_noise(self):
        """Rows with a patch, what comes in there, noisy rows, and what is wanted there."""
        s, step = self.c["patch"], self.batch["noise"].reshape(-1)
        x, e = (self.batch[k].double().reshape(-1, s) for k in ("clean", "drawn"))
        kept = noise_kept()[step.clamp(min=0)].unsqueeze(1)
        z = kept.sqrt() * x + (1 - kept).sqrt() * e
        v = kept.sqrt() * e - (1 - kept).sqrt() * x
        half = TIME_FEATURES // 2
        angle = step.unsqueeze(1) * 10000 ** (-torch.arange(half, dtype=torch.float64) / half)
        rows, noisy = (step >= 0).nonzero().squeeze(1), (step > 0).nonzero().squeeze(1)
        wanted = (e if self.c["prediction"] == "epsilon" else v)[noisy]
        return rows, torch.cat([z, torch.cos(angle), torch.sin(angle)], 1)[rows], noisy, wanted

    def images(self):
        """The indices, among all patches, of those of each image: they follow one another."""
        out, patch, before = [], 0, None
        for i, step in enumerate(self.batch["noise"].reshape(-1).tolist()):
            image = (i // self.c["len"], int(self.batch["hi"].reshape(-1)[i]))
            if step >= 0:
                if image != before:
                    out.append([])
                out[-1].append(patch)
                patch += 1
            before = image if step >= 0 else None
        return [torch.tensor(of) for of in out]

    def patches_in(self, patch):
        """What the hidden state gets of PATCH (patches, S + K)."""
        if "unet_channels" not in self.c:
            return patch @ self.w["patch.in"].T
        numbers, time = patch.split([self.c["patch"], TIME_FEATURES], 1)
        self.unet = UNet(self.c, self.w, self.images(), numbers, time)
        return self.unet.down()

    def patches_out(self, hidden):
        """Predictions of noisy patches, from what the head reads."""
        rows, _, noisy, _ = self.add_noise()
        if "unet_channels" not in self.c:
            return hidden[noisy] @ self.w["patch.out"].T
        return self.unet.up(hidden[rows])[torch.searchsorted(rows, noisy)]

    def hidden(self):
        x = self.w["embed"][self.batch["token"].reshape(-1)]
        if "patch" in self.c:
            rows, patch, _, _ = self.add_noise()
            x = x.index_add(0, rows, self.patches_in(patch.to(x.dtype)))
        for n in range(self.c["layers"]):
            a, b = f"layers.{n}.attention.", f"layers.{n}.feed_forward."
            if self.c["norm"] == "post":
                x = x + self.norm(self.attention(x, a), a + "norm", self.rows)
                x = self.feed_forward(x, x, b)
            else:
                x = x + self.attention(self.norm(x, a + "norm", self.rows), a)
                x = self.feed_forward(self.norm(x, b + "norm", self.rows), x, b)
        return self.w["norm"] * x / torch.sqrt((x * x).mean(1, keepdim=True) + self.c["norm_eps"])

    def logits(self):
        return self.hidden() @ self.w["head"].T

    def predicted(self):
        return self.patches_out(self.hidden())

    def losses(self):
        """Sums of -log p by the target's modality, and of lse^2; of patches the mean squared error
        of each, as image."""
        target = self.batch["target"].reshape(-1)
        kind = self.batch["target_modality"].reshape(-1)
        has, hidden = target >= 0, self.hidden()
        logits = hidden @ self.w["head"].T
        lse = torch.logsumexp(logits, 1)
        nll = lse - logits.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
        sums = [nll[has & (kind == m)].sum() for m in range(MODALITIES)]
        if "patch" in self.c:
            error = self.patches_out(hidden) - self.add_noise()[3].to(hidden.dtype)
            sums[IMAGE] = (error**2).mean(1).sum()
        return sums, (lse[has] ** 2).sum()


# ---- training -----------------------------------------------------------------------------------


def backward(c, params, batches):
    """Leaves the gradients of the loss over BATCHES; returns a row of `losses` and the margin."""
    targets = sum(int((b["target"] >= 0).sum()) for b in batches)
    weight_of = [1 / targets, 1 / targets]
    if "patch" in c:
        weight_of[IMAGE] = c["patch_weight"] / sum(int((b["noise"] > 0).sum()) for b in batches)
    row, margin = np.zeros(7), math.inf
    for b in batches:
        p = Pass(c, params, b, training=True)
        nll, lse2 = p.losses()
        loss = sum(n * w for n, w in zip(nll, weight_of)) + c["z_loss"] * lse2 / targets
        for weight, values, column in ((c["balance"], p.balance, 2), (c["router_z"], p.z, 3)):
            if values:
                loss = loss + weight * sum(values) / len(batches)
                row[column] += float(sum(values)) / len(values) / len(batches)
        loss.backward()
        row[:2] += [float(n) for n in nll]
        row[4:6] += [p.asked, p.dropped]
        margin = min(margin, p.margin)
    row[6] = math.sqrt(sum(float((w.grad.double() ** 2).sum()) for w in params.values()))
    return row, margin


def decays(c, name):
    if is_norm(name):
        return c["decay_norms"]
    return c["decay_embeddings"] if name == "embed" else True


def adamw(c, params, moments, norm, step):
    """Step STEP, from 1, over gradients of global norm NORM; clears them."""
    scale = c["clip"] / norm if 0 < c["clip"] < norm else 1.0
    with torch.no_grad():
        for name, p in params.items():
            m, v = moments[name]
            g = p.grad * scale
            m.mul_(c["beta1"]).add_((1 - c["beta1"]) * g)
            v.mul_(c["beta2"]).add_((1 - c["beta2"]) * g * g)
            ahead = m / (1 - c["beta1"] ** step)
            spread = torch.sqrt(v / (1 - c["beta2"] ** step)) + c["eps"]
            p.sub_(c["lr"] * (ahead / spread + (c["decay"] * p if decays(c, name) else 0)))
            p.grad = None


def run(c, initial, batches, dtype):
    """All the golden values of a case, and the least margin of any decision."""
    params = {k: torch.tensor(v, dtype=dtype, requires_grad=True) for k, v in initial.items()}
    moments = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in params.items()}
    out, rows = {}, []
    with torch.no_grad():
        p = Pass(c, params, batches[0], training=False)
        out["logits"] = p.logits().reshape(c["batch"], c["len"], -1)
        if "patch" in c:
            out["predicted"] = Pass(c, params, batches[0], training=False).predicted()
        p = Pass(c, params, batches[0], training=False)
        sums, _ = p.losses()
        out["evaluation"] = torch.tensor([*sums, p.asked, p.dropped], dtype=torch.float64)
    row, margin = backward(c, params, batches[:1])
    rows.append(row)
    margin = min(margin, p.margin)
    for name, w in params.items():
        out["grad." + name], w.grad = w.grad, None
    for step in range(STEPS):
        row, least = backward(c, params, batches)
        adamw(c, params, moments, row[6], step + 1)
        rows.append(row)
        margin = min(margin, least)
    out["losses"] = torch.tensor(np.array(rows), dtype=torch.float64)
    out.update({"after." + k: p.detach() for k, p in params.items()})
    return {k: v.double().numpy() for k, v in out.items()}, margin


def disagreement(a, b):
    """Per tensor, relative to its largest element; of `losses`, per number."""
    worst = max(float(abs(a[k] - b[k]).max() / abs(b[k]).max()) for k in b if k != "losses")
    x, y = a["losses"], b["losses"]
    return max(worst, float((abs(x - y) / np.maximum(abs(y), 1e-30)).max()))


# ---- files --------------------------------------------------------------------------------------


DTYPES = {"float64": "F64", "float32": "F32", "int32": "I32", "uint8": "U8"}


def write_safetensors(path, tensors, metadata):
    """Widest elements first, so that all are aligned without holes."""
    header, blobs, at = {"__metadata__": metadata}, [], 0
    for name, x in sorted(tensors.items(), key=lambda t: -t[1].itemsize):
        blob = np.ascontiguousarray(x).tobytes()
        header[name] = dict(
            dtype=DTYPES[str(x.dtype)], shape=list(x.shape), data_offsets=[at, at + len(blob)]
        )
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_case(path, c, seed, initial, batches, values):
    tensors = {k: np.stack([b[k] for b in batches]) for k in batches[0]}
    tensors.update({"param." + k: v for k, v in initial.items()})
    for name, x in values.items():
        tensors[name] = x if name in ("losses", "evaluation") else x.astype(np.float32)
    metadata = {k: str(int(v) if isinstance(v, bool) else v) for k, v in c.items()}
    metadata.update(made_by="tests/golden/generate.py", torch=TORCH, seed=str(seed))
    write_safetensors(path, tensors, metadata)


def make_case(folder, name, settings):
    c = {**DEFAULTS, **settings}
    c.update({k: float(np.float32(c[k])) for k in FLOATS})
    for seed in range(1000):
        random = np.random.RandomState(seed)
        batches = [make_batch(c, random) for _ in range(c["micro_batches"])]
        if "patch" in c:
            batches = [add_patches(c, b, random) for b in batches]
        initial = draw(c, random)
        values, margin = run(c, initial, batches, torch.float64)
        if margin < MARGIN:
            continue
        noise = disagreement(run(c, initial, batches, torch.float32)[0], values)
        if noise < NOISE:
            break
    else:
        raise SystemExit(f"{name}: no seed gives a well-conditioned case")
    path = folder / f"{name}.safetensors"
    write_case(path, c, seed, initial, batches, values)
    loss = values["losses"]
    print(f"{name:22} seed {seed:3} margin {margin:.1e} float32 noise {noise:.1e} "
          f"loss {loss[1, :2].sum():7.3f} -> {loss[-1, :2].sum():7.3f} norm {loss[1, 6]:.2f} "
          f"dropped {loss[1, 5]:3.0f} {path.stat().st_size:6} bytes")
    return path.stat().st_size


def main():
    if not torch.__version__.startswith(TORCH):
        raise SystemExit(f"torch {torch.__version__} found, expected {TORCH}: see README.md")
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__)
    folder = folder if folder.is_dir() else folder.resolve().parent
    total = sum(make_case(folder, name, settings) for name, settings in CASES.items())
    print(f"{len(CASES)} cases, {total} bytes")


if __name__ == "__main__":
    main()
