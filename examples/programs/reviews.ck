{{!-- Many reviews judged at the same time: what stands before the loop is read once for all of them.
      Needs reviews, a list of texts. Any model that continues text. --~}}
Reviews of a restaurant, and what each is about: food, service or price.

{{#each reviews parallel=True ~}}
Review: {{this}}
About: {{select 'topics' options=['food', 'service', 'price'] list_append=True}}

{{/each~}}
Summary in one line:{{gen 'summary' stop='\n' max_tokens=40}}
