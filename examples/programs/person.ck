{{!-- Facts out of a text, as a JSON object that always has these keys and types.
      Needs text. Any chat model. --~}}
{{#system~}}
You take facts out of texts and answer in JSON.
{{~/system}}
{{#user~}}
{{text}}
{{~/user}}
{{#assistant~}}
{{gen 'person' max_tokens=200 schema={
    'title': 'Person',
    'description': 'Somebody who is named in the text.',
    'type': 'object',
    'properties': {
        'name': {'type': 'string', 'maxLength': 40},
        'city': {'type': 'string', 'maxLength': 40},
        'age': {'type': 'integer', 'minimum': 0, 'maximum': 130}
    },
    'required': ['name', 'city', 'age']
}}}
{{~/assistant}}
