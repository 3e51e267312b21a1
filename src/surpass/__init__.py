"""Train, search and measure generative policies that surpass their teachers, wherever a checker can judge them."""

__version__ = "0.1.0"
