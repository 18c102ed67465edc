"""What an answer must look like, as a constraint of the picking rule."""

from tascel.grammar.grammars import Grammars
from tascel.grammar.guide import CompiledGrammar, Guide

__all__ = ["CompiledGrammar", "Grammars", "Guide"]
