{{!-- A conversation: the run waits at each await, and goes on with run(question="...").
      'chainkit run' asks in the terminal. Any chat model. --~}}
{{#system~}}
You are a helpful assistant. Answer in one sentence.
{{~/system}}
{{#geneach 'turns' stop=False}}
{{#user~}}
{{set 'this.question' (await 'question') hidden=False}}
{{~/user}}
{{#if this.question == 'bye'}}{{break}}{{/if}}
{{#assistant~}}
{{gen 'this.answer' temperature=0 max_tokens=80}}
{{~/assistant}}
{{/geneach}}
