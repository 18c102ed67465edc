// Who can have put a token on the table: the codes that the server sends, and what they mean.

export const SOURCES = {
  model: "the model's own, drafted by nobody",
  corpus: "from past answers of the task",
  neighbours: "from the answers to similar prompts",
  slots: "copied from the prompt",
  context: "said before in this exchange",
  prediction: "from the prediction that was sent",
  grammar: "all that the grammar allowed",
  neural: "from a small draft model",
  head: "from a head of some rows",
  draft: "from another draft",
};

export const LEGEND = ["model", "corpus", "neighbours", "slots", "context"];
