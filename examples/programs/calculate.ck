{{!-- A question answered with tools: the model calls Python functions, and then answers with what they gave.
      Needs question and tools, a list of functions. Any chat model. --~}}
{{#system~}}
You answer questions about numbers. You never calculate yourself, you call tools.
{{~/system}}
{{#user~}}
{{question}}
{{~/user}}
{{#assistant~}}
{{gen 'answer' tools=tools tool_rounds=4 max_tokens=80}}
{{~/assistant}}
