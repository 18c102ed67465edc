"""A bundle's drafts inside vLLM."""

from tascel.plugins.vllm.proposer import Proposer as Proposer
