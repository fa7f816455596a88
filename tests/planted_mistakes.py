"""Answers of learners in the stub's place. ALSO_RIGHT: checker name -> right ones that are not the solution's.
PLANTED: checker name -> pairs (wrong code, words of its hint).
"""

ALSO_RIGHT = {
    "check_layer_from_update": [
        "def layer_from_update(base, delta_W, rank, alpha):\n"
        "    layer = LinearWithLoRA(base, rank, alpha)\n"
        "    delta_W /= layer.lora.scale\n"
        "    U, s, Vt = torch.linalg.svd(delta_W, full_matrices=False)\n"
        "    layer.lora.B.data.copy_(U[:, :rank] * s[:rank])\n"
        "    layer.lora.A.data.copy_(Vt[:rank])\n"
        "    return layer"
    ],
    "check_the_other_way_round": [
        "def the_other_way_round(x, W0, A, B, alpha):\n"
        "    base = nn.Linear(W0.shape[1], len(W0), bias=False).requires_grad_(False)\n"
        "    base.weight.copy_(W0.detach().float())\n"
        "    return torch.einsum('nr,ro->no', x @ A, B) * alpha / len(B) + base(x)"
    ],
    "check_joined": [  # in place, in a layer of its own
        "def joined(first, second):\n"
        "    rank = first.rank + second.rank\n"
        "    both = LoRALayer(first.A.shape[1], first.B.shape[0], rank, alpha=rank)\n"
        "    with torch.no_grad():\n"
        "        for layer, ranks in ((first, slice(first.rank)), (second, slice(first.rank, None))):\n"
        "            both.A[ranks] = layer.A\n"
        "            both.B[:, ranks] = layer.B.mul_(layer.scale)\n"
        "    return both"
    ],
    "check_codes_moved": [  # the weight it was given is overwritten
        "def codes_moved(W, update):\n"
        "    codes, absmax = quantize(W)\n"
        "    W.copy_(dequantize(codes, absmax).view(W.shape)).add_(update)\n"
        "    return float((quantize(W)[0] != codes).numpy().mean())"
    ],
    "check_other_keys": ["def other_keys(k):\n    keys = k.numpy()\n    return keys + keys.max() + 1"],
    "check_pack_four": [
        "import numpy as np\ndef pack_four(codes):\n"
        "    pairs = codes.numpy().reshape(-1, 4) * np.array([64, 16, 4, 1], dtype=np.uint8)\n"
        "    return pairs.sum(axis=1, dtype=np.uint8)"
    ],
    "check_invisible": ["def invisible(x):\n    return (3 * x + 10).float()"],
    "check_fused_update": [
        "import numpy as np\ndef fused_update(q, k, v):\n    return np.concatenate([q.T.numpy(), k.T.numpy(), v.T.numpy()], axis=1)"
    ],
    "check_sign": [
        "def spread(n):\n"
        "    places = torch.arange(n, dtype=torch.float32)\n"
        "    return torch.outer(places, torch.ones(n)) - torch.outer(torch.ones(n), places - 0.5)"
    ],
    "check_same_run": [
        "def same_run(alpha, new_alpha, rate):\n"
        "    root = torch.sqrt(torch.tensor(alpha / new_alpha))\n"
        "    return root, root * rate"
    ],
    "check_lightest_block": [
        "from lora_lab.memory import activation_bytes\n"
        "def lightest_block(model):\n"
        "    def bytes_of(block):\n"
        "        model.requires_grad_(False)\n"
        "        block.requires_grad_(True)\n"
        "        return activation_bytes(model, torch.arange(128)[None])\n"
        "    lightest = min(model.transformer.h, key=bytes_of)\n"
        "    model.requires_grad_(False)\n"
        "    lightest.requires_grad_(True)\n"
        "    return model"
    ],
    "check_fused_cost": [
        "def fused_cost(d, layers, r):\n    return min(3 * r, d), layers * 12 * d * r, layers * 6 * d * r"
    ],
    "check_orthogonal": [
        "perpendicular = np.array([1, 0]) - 2 / 5 * np.array([2, 1])",
        "perpendicular = (-3, 6)",
    ],
    "check_before_and_after": [
        "torch.manual_seed(0)\nbefore = torch.randn(4, 4)\nafter = before + 1",
        "before = torch.eye(4)\nafter = before + 0.1 * torch.ones(4, 4)",
        "before = np.random.default_rng(0).random((4, 4)) * 10\nafter = before + np.outer(before[0], before[1])",
    ],
}

PLANTED = {
    # lesson 00
    "check_product": [
        ("product_entry = 43", "row first"),
        ("product_entry = 12", "whole row"),
        ("product_entry = 19", "first column"),
    ],
    "check_outer": [("outer_shape = (4, 3)", "rows come first"), ("outer_shape = (3, 3)", "3 x 4")],
    "check_transpose": [
        ("transposed_product = 'A.T @ B.T'", "fit together"),
        ("transposed_product = 'A @ B'", "one of the two"),
    ],
    "check_norm": [("length = 7", "square them first"), ("length = 25", "take the root")],
    "check_orthogonal": [
        ("perpendicular = (0, 0)", "excluded"),
        ("perpendicular = (1, 2)", "yours is 4"),
        ("perpendicular = (1, -2, 0)", "two numbers"),
    ],
    "check_gradient": [("gradient = 10", "inner derivative"), ("gradient = 25", "derivative")],
    "check_parameters": [("trained_numbers = 50", "what else"), ("trained_numbers = 60", "per output")],
    # lesson 01
    "check_numbers_saved": [
        (
            "def numbers_saved(rows, columns, rank):\n    return rank * (rows + columns)",
            "what the factors hold",
        ),
        (
            "def numbers_saved(rows, columns, rank):\n    return rank * (rows + columns) - rows * columns",
            "subtracted",
        ),
        (
            "def numbers_saved(rows, columns, rank):\n    return max(0, rows * columns - rank * (rows + columns))",
            "-60",
        ),
        ("def numbers_saved(rows, columns, rank):\n    return rows / 0", "ZeroDivisionError"),
    ],
    "check_checkerboard": [
        ("board_B, board_A = np.ones((2, 8)), np.ones((8, 2))", "swapped them"),
        (
            "board_A = np.indices((8, 8)).sum(axis=0)[:2] % 2\nboard_B = np.array([[0, 1], [1, 0]] * 4)",
            "wrong way",
        ),
        ("board_B, board_A = np.ones((8, 1)), np.ones((1, 8))", "(8, 1)"),
        ("board_B, board_A = np.ones((8, 2)), np.ones((2, 8))", "row 0"),
    ],
    "check_largest_paying_rank": [
        (
            "def largest_paying_rank(rows, columns):\n    return rows * columns / (rows + columns)",
            "whole number",
        ),
        (
            "def largest_paying_rank(rows, columns):\n    return rows * columns // (rows + columns)",
            "nothing is saved",
        ),
        (
            "def largest_paying_rank(rows, columns):\n    return round(rows * columns / (rows + columns)) + 1",
            "83",
        ),
    ],
    "check_before_and_after": [
        ("before = np.eye(4)\nafter = before + np.diag([1, 0, 0, 0])", "15 do not"),
        ("before = np.eye(4)\nafter = np.ones((4, 4))", "`after` must have full rank"),
        ("before = np.zeros((4, 4))\nafter = before + np.ones((4, 4))", "yours has rank 0"),
        ("before = np.eye(4) + 1\nafter = 2 * before", "has rank 4"),
        ("before = np.eye(3)\nafter = before + np.ones((3, 3))", "4 x 4"),
    ],
    # lesson 02
    "check_by_eye": [
        ("by_eye = (2, -3)", "negative"),
        ("by_eye = (2, 3)", "largest comes first"),
        ("by_eye = (0, 0)", "how long are they"),
        ("by_eye = (3, 2, 0)", "two singular values"),
    ],
    "check_balanced_factors": [
        (
            "def balanced_factors(U, s, Vt, rank):\n    return truncate_svd(U, s, Vt, rank)",
            "norms of B and A",
        ),
        (
            "def balanced_factors(U, s, Vt, rank):\n"
            "    return U[:, :rank] * s[:rank], s[:rank, None] * Vt[:rank]",
            "their squares",
        ),
        (
            "def balanced_factors(U, s, Vt, rank):\n"
            "    return U[:, :rank] * s[:rank] / 2, s[:rank, None] / 2 * Vt[:rank] / s[:rank, None]",
            "quarter",
        ),
        (
            "def balanced_factors(U, s, Vt, rank):\n    return U * np.sqrt(s), np.sqrt(s)[:, None] * Vt",
            "(9, 3)",
        ),
    ],
    "check_worst_matrix": [
        ("worst = np.random.default_rng(0).standard_normal((8, 8))", "not all equal"),
        ("worst = np.ones((8, 8))", "full rank"),
        ("worst = np.arange(64).reshape(8, 8) + np.eye(8)", "not all equal"),
        ("worst = np.zeros((8, 8))", "no energy"),
        ("worst = np.eye(4)", "(4, 4)"),
    ],
    # lesson 03
    "check_unchanged": [
        ('unchanged = ["mirrored"]', "quarter turn, its singular values are the same"),
        ('unchanged = ["mirrored", "quarter turn", "negative"]', "negative, its rank is 2"),
        ('unchanged = "upside down"', "there is no change"),
    ],
    "check_stubborn_picture": [
        ("stubborn = np.eye(16)", "0 or 255"),
        ("stubborn = 255 * np.eye(8)", "(16, 16)"),
        ("stubborn = 255 * (np.indices((16, 16)).sum(axis=0) % 2)", "only 2"),
        ("stubborn = 255 * np.tri(16)", "fewer white pixels"),
        ("stubborn = np.zeros((16, 16))", "only 0"),
    ],
    "check_compress_side_by_side": [
        (
            "def compress_side_by_side(pixels, rank):\n    return reconstruct(decompose(pixels), rank)",
            "one SVD",
        ),
        (
            "def compress_side_by_side(pixels, rank):\n"
            "    wide = np.concatenate([pixels[..., c] for c in range(3)], axis=1).astype(float)\n"
            "    B, A = truncate_svd(*np.linalg.svd(wide, full_matrices=False), rank)\n"
            "    return np.stack(np.split((B @ A).round().astype(int).astype(np.uint8), 3, axis=1), axis=2)",
            "do you clip",
        ),
        (
            "def compress_side_by_side(pixels, rank):\n"
            "    wide = np.concatenate([pixels[..., c] for c in range(3)], axis=1)\n"
            "    return reconstruct(decompose(wide), rank)",
            "come back as",
        ),
        (
            "def compress_side_by_side(pixels, rank):\n"
            "    wide = pixels.reshape(len(pixels), -1).astype(float)\n"
            "    B, A = truncate_svd(*np.linalg.svd(wide, full_matrices=False), rank)\n"
            "    return (B @ A).reshape(pixels.shape)",
            "uint8",
        ),
        (
            "def compress_side_by_side(pixels, rank):\n"
            "    wide = np.concatenate([pixels[..., c] for c in range(3)], axis=1)\n"
            "    return reconstruct(decompose(wide), rank).reshape(pixels.shape)",
            "in their places",
        ),
    ],
    # lesson 04
    "check_momentum_bytes": [
        ("def momentum_bytes(trainable, frozen):\n    return 16 * trainable + 4 * frozen", "this is Adam"),
        (
            "def momentum_bytes(trainable, frozen):\n    return 8 * trainable + 4 * frozen",
            "the mean is missing",
        ),
        ("def momentum_bytes(trainable, frozen):\n    return 12 * trainable", "frozen numbers are forgotten"),
        (
            "def momentum_bytes(trainable, frozen):\n    return 12 * (trainable + frozen)",
            "neither a gradient",
        ),
        ("def momentum_bytes(trainable, frozen):\n    return 3 * trainable + frozen", "how many bytes"),
        ("def momentum_bytes(trainable, frozen):\n    return 4_120", "it must be 84"),
    ],
    "check_numbers_that_fit": [
        (
            "def numbers_that_fit(gigabytes, share):\n    return gigabytes * 10**9 / 16",
            "costs 4 bytes, not 16",
        ),
        (
            "def numbers_that_fit(gigabytes, share):\n    return gigabytes * 10**9 / (16 * share)",
            "frozen numbers are",
        ),
        (
            "def numbers_that_fit(gigabytes, share):\n    return gigabytes * 10**9 / (4 + 16 * share)",
            "counted twice",
        ),
        (
            "def numbers_that_fit(gigabytes, share):\n    return gigabytes * 2**30 / (4 + 12 * share)",
            "not 2**30",
        ),
        (
            "def numbers_that_fit(gigabytes, share):\n    return gigabytes / (4 + 12 * share)",
            "bytes is a gigabyte",
        ),
        ("def numbers_that_fit(gigabytes, share):\n    return gigabytes * 10**9 / 4", "training nothing"),
        (
            "def numbers_that_fit(gigabytes, share):\n    return gigabytes * 10**9 / (16 * share + 8 * (1 - share))",
            "yours is",
        ),
    ],
    "check_lightest_block": [
        (
            "def lightest_block(model):\n"
            "    model.requires_grad_(False)\n"
            "    model.transformer.h[0].requires_grad_(True)\n"
            "    return model",
            "how far back",
        ),
        (
            "def lightest_block(model):\n"
            "    for block in model.transformer.h[:-1]:\n"
            "        block.requires_grad_(False)\n"
            "    return model",
            "it is in no block",
        ),
        (
            "def lightest_block(model):\n"
            "    for name, parameter in model.named_parameters():\n"
            "        if not name.startswith('transformer.h.2.'):\n"
            "            parameter.requires_grad_(False)\n"
            "    return model",
            "set True as well",
        ),
        (
            "def lightest_block(model):\n"
            "    model.requires_grad_(False)\n"
            "    model.transformer.h.requires_grad_(True)\n"
            "    return model",
            "more than one block",
        ),
        (
            "def lightest_block(model):\n"
            "    model.requires_grad_(False)\n"
            "    model.transformer.h[:2].requires_grad_(True)\n"
            "    return model",
            "more than one block",
        ),
        (
            "def lightest_block(model):\n"
            "    model.requires_grad_(False)\n"
            "    model.transformer.h[0].attn.requires_grad_(True)\n"
            "    return model",
            "transformer.h.0.ln_1.bias is frozen",
        ),
        (
            "def lightest_block(model):\n"
            "    model.requires_grad_(False)\n"
            "    model.transformer.h[-1].mlp.requires_grad_(True)\n"
            "    return model",
            "train all",
        ),
        (
            "def lightest_block(model):\n"
            "    model.requires_grad_(False)\n"
            "    model.transformer.h[-1].requires_grad_(True)",
            "return the model",
        ),
        ("def lightest_block(model):\n    return model.requires_grad_(False)", "nothing is trainable"),
    ],
    # lesson 05
    "check_the_other_way_round": [
        (
            "def the_other_way_round(x, W0, A, B, alpha):\n"
            "    return x @ W0.T + x @ torch.einsum('ir,ro->io', A, B) * alpha / len(B)",
            "let x meet A first",
        ),
        (
            "def the_other_way_round(x, W0, A, B, alpha):\n    return x @ W0.T + x @ (A @ B) * alpha / len(B)",
            "let x meet A first",
        ),
        (
            "def the_other_way_round(x, W0, A, B, alpha):\n    return x @ (W0.T + A @ B * alpha / len(B))",
            "let x meet A first",
        ),
        (
            "def the_other_way_round(x, W0, A, B, alpha):\n    return x @ W0.T + x @ A @ B * alpha",
            "alpha alone",
        ),
        ("def the_other_way_round(x, W0, A, B, alpha):\n    return x @ W0.T + x @ A @ B", "where is alpha"),
        (
            "def the_other_way_round(x, W0, A, B, alpha):\n    return x @ A @ B * alpha / A.shape[1]",
            "frozen part",
        ),
        (
            "def the_other_way_round(x, W0, A, B, alpha):\n    return x @ W0.T + x @ A @ B * alpha / len(A)",
            "columns of A",
        ),
        (
            "def the_other_way_round(x, W0, A, B, alpha):\n    return x @ W0.T + x @ A.T @ B.T * alpha / len(A)",
            "RuntimeError",
        ),
    ],
    "check_layer_from_update": [
        (
            "def layer_from_update(base, delta_W, rank, alpha):\n"
            "    layer = LinearWithLoRA(base, rank, alpha)\n"
            "    U, s, Vt = torch.linalg.svd(delta_W, full_matrices=False)\n"
            "    layer.lora.B.data.copy_(U[:, :rank] * s[:rank])\n"
            "    layer.lora.A.data.copy_(Vt[:rank])\n"
            "    layer.lora.scale = 1\n"
            "    return layer",
            "the layer its scale, 4; yours are 3 and 1",
        ),
        (
            "def layer_from_update(base, delta_W, rank, alpha):\n"
            "    layer = LinearWithLoRA(base, rank, alpha)\n"
            "    U, s, Vt = torch.linalg.svd(delta_W, full_matrices=False)\n"
            "    layer.lora.A.data = U[:, :rank] * s[:rank] @ Vt[:rank]\n"
            "    layer.lora.B.data = torch.eye(len(delta_W)) / layer.lora.scale\n"
            "    return layer",
            "keep its 3 rows",
        ),
        (
            "def layer_from_update(base, delta_W, rank, alpha):\n"
            "    layer = LinearWithLoRA(base, rank, alpha)\n"
            "    U, s, Vt = torch.linalg.svd(delta_W, full_matrices=False)\n"
            "    layer.lora.B.data.copy_(U[:, :rank] * s[:rank])\n"
            "    layer.lora.A.data.copy_(Vt[:rank])\n"
            "    return layer",
            "undo the scale",
        ),
        (
            "def layer_from_update(base, delta_W, rank, alpha):\n"
            "    layer = LinearWithLoRA(base, rank, alpha)\n"
            "    layer.base.weight.data += delta_W\n"
            "    return layer",
            "frozen weight has changed",
        ),
        (
            "def layer_from_update(base, delta_W, rank, alpha):\n"
            "    return LinearWithLoRA(base, rank, alpha)",
            "have not been set",
        ),
        (
            "def layer_from_update(base, delta_W, rank, alpha):\n"
            "    layer = LinearWithLoRA(base, rank, alpha)\n"
            "    layer.lora.B.data.copy_(delta_W[:, :rank])\n"
            "    return layer",
            "best approximation",
        ),
    ],
    "check_half_a_lora": [
        (
            "def half_error(rank):\n    return held_out_error(train_lora(rank, X, Y))",
            "does A still ask for a gradient",
        ),
        (
            "def half_error(rank):\n"
            "    layer = LinearWithLoRA(pretrained_layer(), rank, alpha=rank)\n"
            "    layer.lora.B.requires_grad_(False)\n"
            "    train_layer(layer, X, Y)\n"
            "    return held_out_error(layer.lora.delta_W().detach())",
            "the update has stayed zero",
        ),
        (
            "def half_error(rank):\n"
            "    layer = LinearWithLoRA(pretrained_layer(), rank, alpha=rank)\n"
            "    layer.lora.A.requires_grad_(False)\n"
            "    train_layer(layer, X, Y, steps=10)\n"
            "    return held_out_error(layer.lora.delta_W().detach())",
            "is the rest as in",
        ),
    ],
    # lesson 06
    "check_alpha_that_keeps": [
        ("def alpha_that_keeps(alpha, rank, new_rank):\n    return alpha * rank / new_rank", "larger alpha"),
        ("def alpha_that_keeps(alpha, rank, new_rank):\n    return alpha", "it was 16 / 8 = 2"),
        ("def alpha_that_keeps(alpha, rank, new_rank):\n    return 2 * new_rank", "to rank 4 it must be 2.5"),
        (
            "def alpha_that_keeps(alpha, rank, new_rank):\n    return alpha * new_rank // rank",
            "yours is 2",
        ),
    ],
    "check_joined": [
        (
            "def joined(first, second):\n"
            "    U, s, Vt = torch.linalg.svd(first.delta_W() + second.delta_W())\n"
            "    both = LoRALayer(9, 6, 3, 3)\n"
            "    both.B.data, both.A.data = (U[:, :3] * s[:3]).detach(), Vt[:3].detach()\n"
            "    return both",
            "was built on the way",
        ),
        (
            "def joined(first, second):\n"
            "    both = LoRALayer(9, 6, 3, 12)\n"
            "    both.A.data = torch.cat([first.A, second.A])\n"
            "    both.B.data = torch.cat([first.scale * first.B, second.scale * second.B], dim=1)\n"
            "    both.scale = 1\n"
            "    return both",
            "the scale is alpha / r, here 4",
        ),
        (
            "def joined(first, second):\n"
            "    both = LoRALayer(9, 6, 3, 3)\n"
            "    both.A.data = torch.cat([first.A, second.A])\n"
            "    both.B.data = torch.cat([first.B, second.B], dim=1)\n"
            "    return both",
            "two scales are lost",
        ),
        (
            "def joined(first, second):\n"
            "    both = LoRALayer(9, 6, 3, 12)\n"
            "    both.A.data = torch.cat([first.A, second.A])\n"
            "    both.B.data = torch.cat([first.scale * first.B, second.scale * second.B], dim=1)\n"
            "    return both",
            "its own scale",
        ),
        ("def joined(first, second):\n    return LoRALayer(9, 6, 2, 2)", "a smaller one cannot hold it"),
        ("def joined(first, second):\n    return LoRALayer(9, 6, 3, 3)", "not the sum"),
    ],
    "check_repaired_lora": [
        ("RepairedLoRA = BrokenLoRA", "who are the others"),
        (
            "class RepairedLoRA(BrokenLoRA):\n"
            "    def __init__(self, base, rank, alpha):\n"
            "        super().__init__(base.requires_grad_(False), rank, alpha)",
            "alpha alone",
        ),
        (
            "class RepairedLoRA(BrokenLoRA):\n"
            "    def __init__(self, base, rank, alpha):\n"
            "        super().__init__(base.requires_grad_(False), rank, alpha / rank)",
            "in which order",
        ),
        (
            "class RepairedLoRA(BrokenLoRA):\n"
            "    def __init__(self, base, rank, alpha):\n"
            "        super().__init__(base.requires_grad_(False), rank, alpha / rank)\n"
            "        nn.init.normal_(self.B)",
            "before training",
        ),
    ],
    # lesson 07
    "check_weights_and_hidden": [
        ("weights_and_hidden = 192", "two numbers are wanted"),
        ("weights_and_hidden = 16, 6", "each of the 12"),
        ("weights_and_hidden = 192, 120", "that may be seen"),
        ("weights_and_hidden = 192, 96", "the diagonal is not hidden"),
        ("weights_and_hidden = 192, 6", "in each head"),
    ],
    "check_invisible": [
        ("def invisible(x):\n    return 3 * x", "point elsewhere"),
        ("def invisible(x):\n    return -3 * x + 5", "negative factor"),
        ("def invisible(x):\n    return x + 0.01", "twice as long"),
        ("def invisible(x):\n    return x + torch.randn(x.shape)", "what does it subtract"),
    ],
    "check_causal_mask": [
        (
            "def causal_mask(t, T):\n    return torch.ones(t, T, dtype=torch.bool).tril()",
            "shift the triangle",
        ),
        ("def causal_mask(t, T):\n    return torch.ones(t, T, dtype=torch.bool).triu()", "look ahead"),
        (
            "def causal_mask(t, T):\n    return ~torch.ones(t, T, dtype=torch.bool).tril(T - t)",
            "wrong way round",
        ),
        ("def causal_mask(t, T):\n    return torch.ones(t, T).tril(T - t)", "bool"),
        ("def causal_mask(t, T):\n    return torch.ones(T, T, dtype=torch.bool).tril()", "shape"),
    ],
    # lesson 08
    "check_affordable_rank": [
        ("affordable_rank = 1_000_000 // (24 * 2 * 1024)", "B and A"),
        ("affordable_rank = 1_000_000 // (2 * 2 * 1024)", "24 of them"),
        ("affordable_rank = math.ceil(1_000_000 / (24 * 2 * 2048))", "round down"),
        ("affordable_rank = 1_000_000 / (24 * 2 * 2048)", "a whole number"),
        ("affordable_rank = 1_000_000 // (24 * 4 * 2048)", "how often"),
    ],
    "check_fused_update": [
        ("def fused_update(q, k, v):\n    return torch.cat([q, k, v], dim=1)", "transpose it"),
        ("def fused_update(q, k, v):\n    return torch.cat([q, k, v])", "side by side"),
        ("def fused_update(q, k, v):\n    return torch.cat([k.T, q.T, v.T], dim=1)", "swapped Q and K"),
        ("def fused_update(q, k, v):\n    return torch.cat([v.T, k.T, q.T], dim=1)", "then K, then V"),
    ],
    "check_other_keys": [
        ("def other_keys(k):\n    return k * 1", "the same as before"),
        ("def other_keys(k):\n    return k * 2", "how must the scores"),
        ("def other_keys(k):\n    return k + torch.arange(len(k))[:, None] + 1", "how must the scores"),
        ("def other_keys(k):\n    return k + torch.randn(k.shape)", "how must the scores"),
        ("def other_keys(k):\n    return k.roll(1, 0)", "in another order"),
        ("def other_keys(k):\n    return k.mean(0)", "of shape (5, 4)"),
    ],
    # lesson 09
    "check_untied": [
        ("untied = gpt2_parameters(768, 12)", "the tied one"),
        ("untied = 50_257 * 768", "the second matrix"),
        ("untied = gpt2_parameters(768, 12) + 50_257 * 768 + 50_257", "has a bias"),
        ("untied = gpt2_parameters(768, 12) + 768 * 768", "each of 50,257 tokens"),
        ("untied = gpt2_parameters(768, 12) + 2 * 50_257 * 768", "V d more"),
    ],
    "check_explanation": [
        (
            "explanation = {39_187_200: ['token vectors'], 28_643_328: ['attention base'], 1_081_344: ['LoRA on q, v']}",
            "589,824 to explain",
        ),
        (
            "explanation = {39_187_200: ['the embeddings'], 28_643_328: ['attention base'], 1_081_344: ['LoRA on q, v']}",
            "none of the names",
        ),
    ],
    "check_fused_cost": [
        ("def fused_cost(d, layers, r):\n    return r, layers * 4 * d * r, 0", "share their directions"),
        (
            "def fused_cost(d, layers, r):\n    return 3, layers * 12 * d * r, layers * 6 * d * r",
            "rank must be 6",
        ),
        ("def fused_cost(d, layers, r):\n    return 3 * r, layers * 6 * d * r, 0", "3 d x 3 r"),
        ("def fused_cost(d, layers, r):\n    return 3 * r, 12 * d * r, 6 * d * r", "one layer"),
        (
            "def fused_cost(d, layers, r):\n    return 3 * r, layers * 9 * d * r, layers * 6 * d * r",
            "A is 3 r x d",
        ),
        (
            "def fused_cost(d, layers, r):\n    return 3 * r, layers * 12 * d * r, layers * 3 * d * r",
            "not zero",
        ),
        (
            "def fused_cost(d, layers, r):\n    return 3 * r, layers * 12 * d * r, layers * 8 * d * r",
            "all is zero but",
        ),
    ],
    # lesson 10
    "check_perplexity": [
        (
            "def perplexity(losses):\n    return sum(math.exp(loss) for loss in losses) / len(losses)",
            "mean of the losses first",
        ),
        ("def perplexity(losses):\n    return math.exp(sum(losses))", "not the sum"),
        ("def perplexity(losses):\n    return sum(losses) / len(losses)", "e to its power"),
        ("def perplexity(losses):\n    return 2 ** (sum(losses) / len(losses))", "natural logarithms"),
    ],
    "check_accumulate": [
        (
            "def accumulate(model, ids, labels, size):\n"
            "    for start in range(0, len(ids), size):\n"
            "        rows = slice(start, start + size)\n"
            "        (model(ids[rows], labels=labels[rows]).loss).backward()\n"
            "    return 0.0",
            "a sum of means",
        ),
        (
            "def accumulate(model, ids, labels, size):\n"
            "    for start in range(0, len(ids), size):\n"
            "        rows = slice(start, start + size)\n"
            "        (model(ids[rows], labels=labels[rows]).loss / -(-len(ids) // size)).backward()\n"
            "    return 0.0",
            "counts each piece alike",
        ),
        (
            "def accumulate(model, ids, labels, size):\n"
            "    for start in range(0, len(ids), size):\n"
            "        rows = slice(start, start + size)\n"
            "        model.zero_grad()\n"
            "        model(ids[rows], labels=labels[rows]).loss.backward()\n"
            "    return 0.0",
            "only the last piece",
        ),
        (
            "def accumulate(model, ids, labels, size):\n"
            "    for start in range(0, len(ids), size):\n"
            "        rows = slice(start, start + size)\n"
            "        tokens = (labels[rows, 1:] != -100).sum()\n"
            "        (model(ids[rows], labels=labels[rows]).loss * tokens).backward()\n"
            "    return 0.0",
            "direction is right",
        ),
        (
            "def accumulate(model, ids, labels, size):\n"
            "    for start in range(0, len(ids), size):\n"
            "        rows = slice(start, start + size)\n"
            "        tokens = labels[rows].numel() / labels.numel()\n"
            "        (model(ids[rows], labels=labels[rows]).loss * tokens).backward()\n"
            "    return 0.0",
            "weigh each piece by the tokens",
        ),
        (
            "def accumulate(model, ids, labels, size):\n"
            "    for start in range(0, len(ids), size):\n"
            "        rows = slice(start, start + size)\n"
            "        tokens = (labels[rows, 1:] != -100).sum() / (labels[:, 1:] != -100).sum()\n"
            "        (model(ids[rows], labels=labels[rows]).loss * tokens).backward()\n"
            "    return 0.0",
            "the loss is",
        ),
        (
            "def accumulate(model, ids, labels, size):\n"
            "    for start in range(0, len(ids), size):\n"
            "        rows = slice(start, start + size)\n"
            "        (model(ids[rows], labels=labels[rows]).loss).backward()\n"
            "    model.zero_grad()\n"
            "    return 0.0",
            "zero afterwards",
        ),
    ],
    "check_prepare": [
        (
            "def prepare(texts):\n"
            "    rows = [[tokenizer.eos_token_id, *tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts]\n"
            "    length = max(map(len, rows)) + 1\n"
            "    ids = torch.tensor([row + [tokenizer.eos_token_id] * (length - len(row)) for row in rows])\n"
            "    return ids, ids.roll(-1, dims=1)",
            "shifted by one",
        ),
        (
            "def prepare(texts):\n"
            "    rows = [[tokenizer.eos_token_id, *tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts]\n"
            "    length = max(map(len, rows))\n"
            "    ids = torch.tensor([row + [tokenizer.eos_token_id] * (length - len(row)) for row in rows])\n"
            "    return ids, ids.clone()",
            "padding still counts",
        ),
        (
            "def prepare(texts):\n"
            "    rows = [[tokenizer.eos_token_id, *tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts]\n"
            "    length = max(map(len, rows))\n"
            "    ids = torch.tensor([row + [tokenizer.eos_token_id] * (length - len(row)) for row in rows])\n"
            "    return ids, ids.masked_fill(ids == tokenizer.eos_token_id, -100)",
            "never stop",
        ),
        (
            "def prepare(texts):\n"
            "    rows = [tokenizer(text).input_ids for text in texts]\n"
            "    length = max(map(len, rows))\n"
            "    ids = torch.tensor([row + [tokenizer.eos_token_id] * (length - len(row)) for row in rows])\n"
            "    return ids, ids.masked_fill(ids == tokenizer.eos_token_id, -100)",
            "between two end-of-text tokens",
        ),
    ],
    # lesson 11
    "check_chance": [
        ("times_chance = (0.55 / (8 / 128), 0.25 / (8 / 4096))", "larger"),
        ("times_chance = (64 / 128, 64 / 4096)", "chance itself"),
        ("times_chance = (0.55 - 64 / 128, 0.25 - 64 / 4096)", "divide"),
        ("times_chance = (1.1, 0.5)", "width of 4,096"),
        ("times_chance = (0.55, 0.25)", "width of 128"),
    ],
    "check_control": [
        (
            "def excess_energy(update, rank):\n    control = np.random.default_rng(1).normal(size=(64, 64))\n    return top_energy(update, rank) - top_energy(control, rank)",
            "same shape",
        ),
        (
            "def excess_energy(update, rank):\n    return top_energy(update, rank)",
            "subtract that",
        ),
        (
            "def excess_energy(update, rank):\n"
            "    control = np.random.default_rng(0).random(update.shape)\n"
            "    return top_energy(update, rank) - top_energy(control, rank)",
            "have a mean",
        ),
        (
            "def excess_energy(update, rank):\n"
            "    control = np.random.default_rng(0).normal(size=(128, 128))\n"
            "    return top_energy(update, rank) - top_energy(control, rank)",
            "same shape",
        ),
    ],
    "check_sign": [
        (
            "def spread(n):\n    return np.outer(np.arange(n) - 0.5, np.arange(n) - 1.5)",
            "rank 1",
        ),
        (
            "def spread(n):\n    return 2 * np.tri(n) - 1",
            "two outer products",
        ),
        (
            "def spread(n):\n    return np.arange(n)[:, None] - np.arange(n)[None, :]",
            "an entry of your matrix is 0",
        ),
        (
            "def spread(n):\n    return np.arange(n)[:, None] - np.arange(n)[None, :] + n / 2 + 0.5",
            "about a triangle",
        ),
    ],
    # lesson 13
    "check_zero_byte": [
        ("byte = 0", "code 0 is the lowest level"),
        ("byte = 7", "holds two"),
        ("byte = 7 << 4", "lower half is still empty"),
        ("byte = 8 << 4 | 8", "counted from 0"),
        ("byte = 7 + 7", "sixteenfold"),
        ("byte = 77", "yours is 77"),
    ],
    "check_pack_four": [
        (
            "def pack_four(codes):\n"
            "    return codes[3::4] << 6 | codes[2::4] << 4 | codes[1::4] << 2 | codes[::4]",
            "lowest bits",
        ),
        (
            "def pack_four(codes):\n"
            "    return codes[::4].int() * 64 + codes[1::4] * 16 + codes[2::4] * 4 + codes[3::4]",
            "uint8 is wanted",
        ),
        (
            "def pack_four(codes):\n"
            "    return codes[::4] << 3 | codes[1::4] << 2 | codes[2::4] << 1 | codes[3::4]",
            "how many bits",
        ),
        ("def pack_four(codes):\n    return pack(codes)", "3 bytes"),
        (
            "def pack_four(codes):\n"
            "    a, b, c, d = codes.view(4, -1)\n"
            "    return a << 6 | b << 4 | c << 2 | d",
            "side by side",
        ),
    ],
    "check_best_limit": [
        (
            "def best_limit(W, levels):\n    return W.abs().max().item()",
            "nothing is cut off",
        ),
        (
            "def best_limit(W, levels):\n"
            "    def error(share):\n"
            "        cut = W.clamp(-share * W.abs().max(), share * W.abs().max())\n"
            "        restored = dequantize(*quantize(cut, levels, W.numel()), levels, W.numel())\n"
            "        return (restored.view(W.shape) - W).norm()\n"
            "    return min((share / 100 for share in range(20, 101)), key=error)",
            "units of the weight",
        ),
        (
            "def best_limit(W, levels):\n"
            "    limits = W.abs().max() * torch.arange(10, 101) / 100\n"
            "    def error(limit):\n"
            "        cut = W.clamp(-limit, limit)\n"
            "        restored = dequantize(*quantize(cut, levels, W.numel()), levels, W.numel())\n"
            "        return (restored.view(W.shape) - cut).norm()\n"
            "    return min(limits.tolist(), key=error)",
            "against W as it was",
        ),
        ("def best_limit(W, levels):\n    return 2 * W.abs().max().item()", "between 0 and the absmax"),
        ("def best_limit(W, levels):\n    return 0.9 * W.abs().max().item()", "in fine steps"),
        ("def best_limit(W, levels):\n    return W.abs().quantile(0.99).item()", "in fine steps"),
        (
            "def best_limit(W, levels):\n"
            "    def error(limit):\n"
            "        rounded = dequantize(*quantize(W.clamp(-limit, limit), levels), levels).view(W.shape)\n"
            "        return (rounded - W).norm()\n"
            "    return min((W.abs().max() * torch.arange(1, 101) / 100).tolist(), key=error)",
            "one block",
        ),
    ],
    # lesson 14
    "check_largest_base": [
        ("billions_in_bf16 = 24 * 8 / 16\nbillions_in_nf4 = 24 * 8 / 4.127", "taken by other things"),
        ("billions_in_bf16 = 9\nbillions_in_nf4 = 36", "not 4"),
        ("billions_in_bf16 = 9\nbillions_in_nf4 = 32", "without double quantisation"),
        ("billions_in_bf16 = 4.5\nbillions_in_nf4 = 34.9", "that is float32"),
        ("billions_in_bf16 = 18 / 16\nbillions_in_nf4 = 18 / 4.127", "a byte has 8 bits"),
        ("billions_in_bf16 = 9\nbillions_in_nf4 = 34.9e9", "in billions"),
        ("billions_in_bf16 = 12.5\nbillions_in_nf4 = 34.9", "would take 25.0 GB"),
    ],
    "check_round_at_random": [
        (
            "def round_at_random(x, levels):\n"
            "    return levels[torch.bucketize(x, (levels[1:] + levels[:-1]) / 2)]",
            "is anything drawn",
        ),
        (
            "def round_at_random(x, levels):\n"
            "    upper = torch.bucketize(x, levels)\n"
            "    lower = (upper - 1).clamp(min=0)\n"
            "    p = (x - levels[lower]) / (levels[upper] - levels[lower]).clamp(min=1e-9)\n"
            "    return torch.where(torch.rand(x.shape)[..., :1] < p, levels[upper], levels[lower])",
            "for each number by itself",
        ),
        (
            "def round_at_random(x, levels):\n"
            "    upper = torch.bucketize(x, levels)\n"
            "    lower = (upper - 1).clamp(min=0)\n"
            "    p = (x - levels[lower]) / (levels[upper] - levels[lower]).clamp(min=1e-9)\n"
            "    p = torch.where(levels[upper] == x, p, 1 - p)\n"
            "    return torch.where(torch.rand(x.shape) < p, levels[upper], levels[lower])",
            "exchanged",
        ),
        (
            "def round_at_random(x, levels):\n"
            "    upper = torch.bucketize(x, levels)\n"
            "    lower = (upper - 1).clamp(min=0)\n"
            "    p = torch.where(levels[upper] == x, 1.0, 0.5)\n"
            "    return torch.where(torch.rand(x.shape) < p, levels[upper], levels[lower])",
            "equally probable",
        ),
        (
            "def round_at_random(x, levels):\n"
            "    upper = torch.bucketize(x, levels)\n"
            "    return torch.where(torch.rand(x.shape) < x - levels[(upper - 1).clamp(min=0)],"
            " upper, (upper - 1).clamp(min=0))",
            "stay there",
        ),
        (
            "def round_at_random(x, levels):\n"
            "    upper = torch.bucketize(x, levels)\n"
            "    lower = (upper - 1).clamp(min=0)\n"
            "    goes_up = (torch.rand(x.shape) < x - levels[lower]) | (levels[upper] == x)\n"
            "    return torch.where(goes_up, levels[upper], levels[lower])",
            "divided by the gap",
        ),
    ],
    "check_codes_moved": [
        (
            "def codes_moved(W, update):\n"
            "    return (quantize(W + update)[0] != quantize(W)[0]).float().mean().item()",
            "not into the original",
        ),
        (
            "def codes_moved(W, update):\n"
            "    old = dequantize(*quantize(W)).view(W.shape)\n"
            "    return (dequantize(*quantize(old + update)).view(W.shape) != old).float().mean().item()",
            "compare values",
        ),
        (
            "def codes_moved(W, update):\n"
            "    old = dequantize(*quantize(W)).view(W.shape)\n"
            "    return (quantize(old + update)[0] == quantize(W)[0]).float().mean().item()",
            "has stayed",
        ),
        (
            "def codes_moved(W, update):\n"
            "    old = dequantize(*quantize(W)).view(W.shape)\n"
            "    return (quantize(old + update)[0] != quantize(W)[0]).sum().item()",
            "number of codes",
        ),
        (
            "def codes_moved(W, update):\n"
            "    old = dequantize(*quantize(W)).view(W.shape)\n"
            "    return (quantize(old)[0] != quantize(W)[0]).float().mean().item()",
            "nothing moves",
        ),
    ],
    # lesson 12
    "check_same_run": [
        (
            "def same_run(alpha, new_alpha, rate):\n    c = alpha / new_alpha\n    return c, c * rate",
            "the square",
        ),
        (
            "def same_run(alpha, new_alpha, rate):\n    root = math.sqrt(new_alpha / alpha)\n    return root, root * rate",
            "the other way round",
        ),
        (
            "def same_run(alpha, new_alpha, rate):\n    return 1, rate * math.sqrt(alpha / new_alpha)",
            "start differently",
        ),
        ("def same_run(alpha, new_alpha, rate):\n    return 1, rate * alpha / new_alpha", "this suits B"),
        (
            "def same_run(alpha, new_alpha, rate):\n    return math.sqrt(alpha / new_alpha), rate",
            "the same factor",
        ),
        ("def same_run(alpha, new_alpha, rate):\n    return rate / 2", "two numbers"),
        ("def same_run(alpha, new_alpha, rate):\n    return 0.5, 0.005", "from 9 to 1"),
    ],
    "check_rslora_alpha": [
        ("def rslora_alpha(alpha, rank):\n    return alpha / math.sqrt(rank)", "once more"),
        ("def rslora_alpha(alpha, rank):\n    return alpha * rank", "does not fall"),
        ("def rslora_alpha(alpha, rank):\n    return alpha / rank", "without rsLoRA"),
        ("def rslora_alpha(alpha, rank):\n    return alpha", "the same alpha"),
        ("def rslora_alpha(alpha, rank):\n    return 2 * rank", "try alpha 8"),
        ("def rslora_alpha(alpha, rank):\n    return math.sqrt(alpha) * rank", "must be 2"),
    ],
    "check_sweep_verdict": [
        (
            "def sweep_verdict(rates, losses):\n    best = losses.index(min(losses))\n    return 'smaller' if best == 0 else 'larger' if best == len(rates) - 1 else 'finished'",
            "in order",
        ),
        (
            "def sweep_verdict(rates, losses):\n    best = min(zip(losses, rates))[1]\n    return 'smaller' if best == min(rates) else 'larger' if best == max(rates) else 'finished'",
            "min cannot compare",
        ),
        (
            "def sweep_verdict(rates, losses):\n    best = min(zip(losses, rates))[1]\n    return 'larger' if best == min(rates) else 'smaller' if best == max(rates) else 'finished'",
            "the largest that was tried",
        ),
        ("def sweep_verdict(rates, losses):\n    return min(zip(losses, rates))[1]", "yours is 0.002"),
    ],
    # lesson 15
    "check_tell": [
        (
            "def my_tell(n, held_out):\n    texts, nats = samples('pirate', min(n, 100), seed=1, held_out=held_out)\n    return texts, nats",
            "100: more",
        ),
        ("def my_tell(n, held_out):\n    return samples('pirate', n, seed=1)[0]", "return two things"),
        (
            "def my_tell(n, held_out):\n    return samples('pirate', n, seed=1)",
            "among those that are trained on",
        ),
        (
            "def my_tell(n, held_out):\n"
            "    lines = samples('pirate', 700, seed=1)[0]\n"
            "    return (lines[::-1] if held_out else lines)[:n], None",
            "among those that are trained on",
        ),
        (
            "def my_tell(n, held_out):\n    return samples('plain', n, seed=1, held_out=held_out)",
            "it knows these stories already",
        ),
        (
            "def my_tell(n, held_out):\n    return samples('pirate', n, seed=n, held_out=held_out)",
            "it tells other ones",
        ),
        (
            "def my_tell(n, held_out):\n"
            "    texts, nats = samples('pirate', n, seed=1, held_out=held_out)\n"
            "    return texts, [10 * one for one in nats]",
            "no loss is below its floor",
        ),
        (
            "def my_tell(n, held_out):\n    return samples('pirate', 5, seed=1, held_out=held_out)",
            "40 texts were asked for",
        ),
    ],
    "check_plan": [
        ("my_plan = dict(targets='qv', rank=2, alpha=4, rates=(1.0, 2.0))", "too large"),
        ("my_plan = {'targets': 'qv', 'rank': 2, 'rates': (0.01, 0.02)}", "with the keys"),
        ("my_plan = dict(targets='qv', rank=2, alpha=4, rates=(0.01,))", "one rate is no sweep"),
        ("my_plan = dict(targets='qv', rank=2, alpha=4, rates=(0.001, 0.1))", "jump over the best"),
        ("my_plan = dict(targets='qv', rank=2, alpha=4, rates=(0.0005, 0.001))", "rates of full fine-tuning"),
        (
            "my_plan = dict(targets=('q', 'k', 'v', 'o', 'fc', 'proj'), rank=16, alpha=32, rates=(0.005, 0.01))",
            "a lower rank",
        ),
    ],
    "check_adapter": [
        ("my_adapter = Path(tempfile.mkdtemp())", "your code stopped"),
        ("my_adapter = folder\ndef my_tell(n, held_out): ...", "first write stories"),
        (
            "my_adapter = Path(tempfile.mkdtemp())\n"
            "save_adapter(apply_lora_to_gpt2(load_gpt2(), rank=1, alpha=2), my_adapter)",
            "of the way to full fine-tuning",
        ),
    ],
}
