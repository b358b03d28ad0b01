{{!-- A character of a role-playing game as JSON. All that JSON prescribes is written by the template, so that the
      model writes values only, and the result is always JSON.
      Needs id, description and valid_weapons, a list. Any model that continues text. --~}}
The following is a character profile for an RPG game in JSON format.
```json
{
    "id": "{{id}}",
    "description": "{{description}}",
    "name": "{{gen 'name' max_tokens=12}}",
    "age": {{gen 'age' pattern='[0-9]{1,3}' stop=','}},
    "armor": "{{#select 'armor'}}leather{{or}}chainmail{{or}}plate{{/select}}",
    "weapon": "{{select 'weapon' options=valid_weapons}}",
    "class": "{{gen 'class' max_tokens=12}}",
    "mantra": "{{gen 'mantra' temperature=0.7 max_tokens=12}}",
    "strength": {{gen 'strength' pattern='[0-9]{1,2}' stop=','}},
    "items": [{{#geneach 'items' num_iterations=5 join=', '}}"{{gen 'this' temperature=0.7 max_tokens=12}}"{{/geneach}}]
}```
