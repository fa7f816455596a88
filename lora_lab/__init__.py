"""Helper package of the course on LoRA. One module is one idea:

low_rank    rank, the truncated SVD, its error, and what a factorisation costs (numpy only)
images      a picture as a matrix: load it, truncate it, measure how good it still is (numpy and pillow)
lora        LoRALayer and LinearWithLoRA: W0 x + (alpha / r) B A x, and merging (torch)
attention   SelfAttentionWithLoRA: LoRA on the queries, keys, values and the output of GPT-2's attention
gpt2        a GPT-2, random or pretrained; put LoRA into it and take it out again
counting    parameters, counted on a model and from a closed formula
memory      what a training step holds: weights, gradients, moments, activations
adapters    save and load adapters, in the file format of PEFT; adapter_files reads and writes the two files,
            fused_adapters turns separate q, k and v into the one layer that PEFT knows
quantization   NF4: weights in 4 bits, and their scales in 8 (torch)
quantized_layers   LinearNF4, a frozen layer in 4 bits under LoRA, and a GPT-2 made of it
stories     the toy language that the shipped model speaks, with its exact entropy
training    one training loop; nothing in it knows LoRA
pretraining how the shipped model, models/story-gpt2, was made
experiments the longer runs of lesson 08, stored in data/, and the command that makes them
spectra     what an update looks like: stable rank, similarity of subspaces, amplification
random_subspace   training in a random subspace, for the intrinsic dimension
updates     what training changed in the dense weights, cut and put back
rank_experiments  the longer runs of lesson 09, stored in data/, and the command that makes them
variants    rsLoRA, LoRA+, PiSSA and DoRA, each a line or two of LoRALayer
choosing    the stored runs of lesson 10, and the command that makes them
drawing     how every figure of the course looks, and how a notebook shows it
figures     the diagrams in images/, one function each
checks      one checker per exercise, one module per lesson
"""

import logging

# bitsandbytes, where it is installed, is imported by PEFT, and tells some processors that an optional part of
# it is missing. Nothing here needs that part, and a lesson should not begin with it.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
