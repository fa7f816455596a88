"""The shipped model, in model/, and what it is made of: its toy language, its batches, its pretraining."""
