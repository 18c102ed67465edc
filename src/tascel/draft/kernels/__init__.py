"""The compiled hot path. `draft/reference/` says the same plainly.

`matching` finds where the last tokens occurred before, `copying` what an answer takes from its
prompt, `recalling` what similar prompts got, `retrieval` which those are; `placing` is where an
answer stands in all of it, `gathering` what each source says of the next token, `evidence` what
that is worth, `rules` how others read it, `mixing` one interface for these; `growing` makes drafts
of it, `affording` cuts them to what a batch can pay for, `learning` teaches how far to believe.
"""
