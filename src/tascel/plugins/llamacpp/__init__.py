"""A bundle's drafts inside llama-cpp-python."""

from tascel.plugins.llamacpp.draft import LlamaDraft as LlamaDraft
from tascel.plugins.llamacpp.opening import cannot_draft as cannot_draft
from tascel.plugins.llamacpp.opening import open_llama as open_llama
from tascel.plugins.llamacpp.opening import open_plain as open_plain
from tascel.plugins.llamacpp.opening import options_of as options_of
from tascel.plugins.llamacpp.passes import price_of as price_of
from tascel.plugins.llamacpp.passes import setting_of as setting_of
from tascel.plugins.llamacpp.vocabulary import check as check
from tascel.plugins.llamacpp.vocabulary import vocabulary_of as vocabulary_of
