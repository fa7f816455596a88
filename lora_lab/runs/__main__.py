"""`python -m lora_lab.runs` makes the stored runs again."""

from lora_lab.runs.choosing import store_choices
from lora_lab.runs.fine_tuning import store_all
from lora_lab.runs.why_low_rank import store_rank_runs

if __name__ == "__main__":
    for store in (store_all, store_rank_runs, store_choices):
        store()
