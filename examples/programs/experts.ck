{{!-- A panel of experts answers a question. The panel is named first, and then forgotten for the answer.
      Needs query. Any chat model. --~}}
{{#system~}}
You are a helpful and terse assistant.
{{~/system}}
{{#user~}}
I want a response to the following question:
{{query}}
Name three world-class experts, past or present, who would be great at answering this.
Don't answer the question yet.
{{~/user}}
{{#assistant~}}
{{gen 'experts' temperature=0 max_tokens=120}}
{{~/assistant}}
{{#user~}}
Great, now please answer the question as if these experts had written a joint answer together.
{{~/user}}
{{#assistant~}}
{{gen 'answer' temperature=0 max_tokens=300}}
{{~/assistant}}
