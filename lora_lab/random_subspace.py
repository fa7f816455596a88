"""Training in a random subspace of d numbers. Lesson 11 trains in one.

All trained weights together are one long vector theta of D numbers. It stays theta_0 + P z, with z of d
numbers, which are trained, and P (D, d) drawn once and fixed. The smallest d with which a task is learned
well is called its intrinsic dimension (Li et al., arXiv 1804.08838; Aghajanyan et al., arXiv 2012.13255).
"""

import torch
from torch import nn
from torch.func import functional_call


class RandomSubspace(nn.Module):
    """`model` with W0 + the place's sign x the place's number of z, for each place of the parameters `names`.

    Each of the D places is given one of the d numbers of z and a sign, both drawn with `seed`. So P has one
    entry in each row, +1 or -1, and its columns are orthogonal. z starts at zero: at first nothing changes.
    `model` is frozen, not copied. ValueError unless `d` is from 1 to D. (The papers use other P, dense or
    Fastfood; any P whose columns are random, orthogonal and of about one length will do.)
    """

    def __init__(self, model, names, d, seed=0):
        super().__init__()
        places = sum(model.get_parameter(name).numel() for name in names)
        if not 1 <= d <= places:
            raise ValueError(f"d must be from 1 to {places:,}, the numbers of the chosen weights, got {d}")
        draw = torch.Generator().manual_seed(seed)
        self.model, self.names = model.requires_grad_(False), list(names)
        self.z = nn.Parameter(torch.zeros(d))
        self.register_buffer("which", torch.randint(d, (places,), generator=draw))
        self.register_buffer("sign", torch.randint(2, (places,), generator=draw) * 2.0 - 1)
        self.to(next(model.parameters()).device)

    def weights(self):
        W0 = {name: self.model.get_parameter(name) for name in self.names}
        update = (self.sign * self.z.gather(0, self.which)).split([W.numel() for W in W0.values()])
        return {name: W + part.view_as(W).to(W) for (name, W), part in zip(W0.items(), update, strict=True)}

    def forward(self, *inputs, **options):
        return functional_call(self.model, self.weights(), inputs, options)
