{{!-- How a review sounds, and how sure the model is.
      Needs review. Any local model; hosted ones give no probabilities, so leave logprobs= away there. --~}}
Review: {{review}}
The sentiment of this review is {{#select 'sentiment' logprobs='chances'}}positive{{or}}negative{{or}}mixed{{/select}}.
