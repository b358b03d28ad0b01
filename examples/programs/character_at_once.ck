{{!-- The same character, written by the model in one piece: slower, and JSON only if the model feels like it.
      Run both with --json and compare the seconds and the sampled tokens of their usage.
      Needs id and description. Any model that continues text. --~}}
The following is a character profile for an RPG game in JSON format, with the keys id, description, name, age, armor,
weapon, class, mantra, strength and items (a list of five).
```json
{
    "id": "{{id}}",
    "description": "{{description}}",
{{gen 'rest' stop='```' max_tokens=200}}```
