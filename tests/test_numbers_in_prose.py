"""Which numbers in a text must have been computed, and when a number counts as computed."""

import pytest
from numbers_in_prose import claims, numbers_in_code, printed_numbers

CLAIMED = {
    "It has 2,560,000 numbers.": 2_560_000,
    "A vector of $d = 1600$ numbers": 1600,
    "All $124{,}439{,}808$ of them": 124_439_808,
    "GPT-2 small has 124 million.": 124e6,
    "The loss is 0.334 now": 0.334,
    "It keeps 7 % of the energy.": 7,
    "It keeps $92\\,\\%$ of it": 92,
    "| a row | 0.323 against |": 0.323,
    "On paper it is 2304.": 2304,
}
NOT_CLAIMED = [
    "It has 12 weights, at a rate of 0.05.",
    "Eckart and Young proved it in 1936.",
    "See [the page](https://example.org/1234567) for 8,000 more.",
    "The adapters (arXiv 1902.00751) had 3,600 numbers.",
    "The paper counts 175,255.8 million.",
    "Of rank 256 (Biderman et al., 2024).",
    "Houlsby 2019 trained 3.6 %.",
    "On numerical rank, section 5.4.1 has 123 lines.",
    "### Exercise 11.12 · Bits",
    "[The lesson](../images/figure_1234.png)",
    "With torch 2.13.0 and bert-768",
    "float32 and 175B and W_768",
]


@pytest.mark.parametrize("text", CLAIMED)
def test_a_long_number_or_a_percentage_is_a_claim(text):
    (claim,) = claims(text)
    assert claim.value == CLAIMED[text]


@pytest.mark.parametrize("text", NOT_CLAIMED)
def test_what_is_short_a_name_a_year_or_cited_is_none(text):
    assert list(claims(text)) == []


def test_a_citation_is_good_for_its_own_sentence_only():
    assert [claim.text for claim in claims("The paper has 100 pages. Ours has 200.")] == ["200"]


@pytest.mark.parametrize(
    ("text", "printed", "is_computed"),
    [
        ("2,560,000", "2,560,000 numbers", True),
        ("2,560,000", "2560000", True),
        ("2,650,000", "2,560,000 numbers", False),
        ("0.334", "loss 0.33387", True),
        ("0.334", "loss 0.33", False),
        ("498 million", "497,759,232 bytes", True),
        ("498 million", "498 bytes", False),
        ("97 %", "0.968", True),
        ("97 %", "97%", True),
        ("97 %", "96.8 %", True),
        ("97 %", "97 tokens", False),
        ("97 %", "0.98", False),
        ("313", "from -40 to 313", True),
    ],
)
def test_a_number_is_computed_if_what_was_printed_rounds_to_it(text, printed, is_computed):
    (claim,) = claims(text)
    assert claim.is_among(list(printed_numbers(printed))) == is_computed


def test_what_code_says_in_words_is_not_computed():
    source = "x = 66_720 - 1.5  # not 777\nprint('not 888', True)"
    assert set(numbers_in_code(source)) == {(66_720, False), (1.5, False)}
