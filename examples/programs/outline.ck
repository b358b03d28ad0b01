{{!-- An outline, and a sentence for each of its points. The model thinks first, where nobody sees it.
      Needs topic. Any model that continues text. --~}}
{{#block hidden=True ~}}
What matters most about {{topic}}:{{gen 'thoughts' stop='\n' max_tokens=40}}
{{~/block ~}}
# {{topic}}
{{#block 'plan' hidden=True ~}}
{{thoughts}}
Three chapters about {{topic}}:{{#geneach 'chapters' num_iterations=3}}
- {{gen 'this' stop='\n' max_tokens=10}}{{/geneach}}
{{~/block ~}}
{{#each chapters}}
## {{@index + 1}}. {{strip this}}
{{gen 'sentences' stop=['\n', '.'] max_tokens=30 list_append=True}}.
{{/each}}
