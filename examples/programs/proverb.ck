{{!-- An old proverb, applied to language models.
      Needs proverb, book, chapter and verse. Any model that continues text. --~}}
Tweak this proverb to apply to model instructions instead.

{{proverb}}
- {{book}} {{chapter}}:{{verse}}

UPDATED
Where there is no guidance{{gen 'rewrite' stop='\n-' max_tokens=40}}
- GPT {{gen 'new_chapter' pattern='[0-9]{1,2}'}}:{{gen 'new_verse' pattern='[0-9]{1,2}'}}
