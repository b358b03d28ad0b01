{{!-- A character of a role-playing game as JSON. All that JSON prescribes is written by the template, so that the
      model writes values only; they end where JSON could not take more, so that the result is always JSON.
      Needs id, description and valid_weapons, a list. Any model that continues text. --~}}
{{set 'ends' ['"', '\\', '\n', '\t'] ~}}
The following is a character profile for an RPG game in JSON format.
```json
{
    "id": "{{id}}",
    "description": "{{description}}",
    "name": "{{gen 'name' stop=ends max_tokens=12}}",
    "age": {{gen 'age' pattern='[1-9][0-9]{0,2}' stop=','}},
    "armor": "{{#select 'armor'}}leather{{or}}chainmail{{or}}plate{{/select}}",
    "weapon": "{{select 'weapon' options=valid_weapons}}",
    "class": "{{gen 'class' stop=ends max_tokens=12}}",
    "mantra": "{{gen 'mantra' stop=ends temperature=0.7 max_tokens=12}}",
    "strength": {{gen 'strength' pattern='[1-9][0-9]?' stop=','}},
    "items": [{{#geneach 'items' num_iterations=5 join=', '}}"{{gen 'this' stop=ends temperature=0.7 max_tokens=12}}"{{/geneach}}]
}```
