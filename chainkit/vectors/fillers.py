"""Words that name nothing: of the grammar, and what people say around what they mean."""

from __future__ import annotations

_ENGLISH = """
a about above across after again against ago all almost along already also although always am among an and another any
anybody anyone anything are aren't around as at away be became because been before behind being below between both but
by can can't cannot could couldn't did didn't do does doesn't doing don't done down during each either else enough etc
even ever every everyone everything few for from further had hadn't has hasn't have haven't having he her here hers
herself him himself his how however i i'd i'll i'm i've if in into is isn't it it's its itself just least less let
let's lot lots many may maybe me might mine more most much must my myself near never no nobody none nor not nothing now
of off often on once one ones only onto or other others our ours ourselves out over own per perhaps quite rather really
same she should shouldn't since so some somebody someone something soon still such than that that's the their theirs
them themselves then there there's these they they're thing things this those though through thus till to together too
toward under until up upon us very via was wasn't way ways we we're were weren't what what's whatever when where
whether which while who who's whom whose why will with within without won't would wouldn't yes yet you you're your
yours yourself
dont cant doesnt didnt isnt wont im ive id whats hows wheres thats havent hasnt couldnt wouldnt
"""
_SAID = """
able ask asked asking begin bit bring came come comes coming explain find found gave get gets getting give given gives
giving go goes going gone gonna good got gotten great happen happened happening happens help hello hey hi keep kind know
known knows like look looking looks made make makes making mean means need needed needs okay ok part please possible
pretty put respond said say saying says see seem seems seen show shows sort start started stuff sure take taken takes
taking tell telling tells thank thanks think thinking thought took tried try trying use used uses using want wanted
wants well went wish wonder wondering work
"""
_GERMAN = """
aber alle als also am an auch auf aus bei bin bis bitte da damit dann das dass dein dem den denn der des die dies diese
dieser doch dort du durch ein eine einem einen einer es etwas fast für gibt haben habe hat hier ich ihr ihre im in ist
ja jetzt kann kein keine können machen mal man mehr mein meine meinem meinen meiner mich mir mit muss nach nicht noch
nur ob oder ohne schon sehr sein seine sich sie sind so über um und uns unser unter vom von vor war warum was wenn wer
werden wie wieder will wir wird wo wurde zu zum zur
"""
_FRENCH = """
à ai alors au aucun aussi autre aux avec avez avoir c'est ce cela ces cette comme comment dans de des donc du elle elles
en est et être eu fait faire il ils j'ai je la le les leur lui ma mais me mes mon même ne nos notre nous on ont ou où
par pas peut peux plus pour pourquoi quand que quel quelle qui s'il sa sans se ses si son sont sur ta te tes ton tous
tout très tu un une vos votre vous y
"""
_SPANISH = """
a al algo como cómo con cuál cuándo de del desde donde dónde el ella ellos en entre era es esa ese eso esta está este
esto estoy fue ha hacer hay he la las le les lo los mas más me mi mis muy no nos o para pero poco por porque puede puedo
que qué quien quiero se ser si sí sin sobre son su sus también te tengo tiene todo tu un una unas uno unos y ya yo
"""
_ARABIC = """
أحد أريد أن أنا أنت أو أي أين إذا إلا إلى إن إنه إنها الآن التي الذي الذين أيضا أكثر أفضل بعد بعض بل بين تلك
ثم حتى حول خلال ذلك عند عن عندما على عليه عليها فقط في فيه فيها قبل قد كان كانت كل كم كما كيف لا لدي لدى لذا
لقد لكن لم لماذا لن له لها ليس لي ما ماذا متى مثل مع من منذ منه منها نحن نعم هذا هذه هل هم هنا هناك هو هي و
وهو وهي يا يكون يمكن يمكنك يمكنني تكون
"""
_HINDI = """
अपना अपनी अपने अब अभी आप इस इसे उस उसे एक और कब कर करना करने करूँ करें करे कहाँ का कि की के कैसे को
क्या क्यों गई गए गया चाहिए जब जो तक तो
था थी थे दो नहीं ने पर फिर बहुत भी मुझे में मेरा मेरी मेरे मैं यह या ये रहा रही रहे लिए वह सकता सकते
साथ से हम हुआ हुई हूँ है हैं हो होगा होगी होता होती
"""
_THAI = """
กับ การ ของ ขอ ครับ ความ ค่ะ คะ คุณ จะ จาก ฉัน ซึ่ง ด้วย ต้อง ต้องการ ถึง ถ้า ทำ ทำไม ที่ ที่ไหน นี้
นั้น ใน ผม แต่ แล้ว และ มา มาก มี เมื่อ เมื่อไร ไม่ ไม่ได้ ยัง
ยังไง ยังไม่ อย่างไร อะไร อยู่ อีก เป็น ได้ ให้ ว่า หรือ เรา
"""

FILLERS = frozenset(" ".join((_ENGLISH, _GERMAN, _FRENCH, _SPANISH, _ARABIC, _HINDI, _THAI)).split())
"""Words of English, German, French, Spanish, Arabic, Hindi and Thai in lower case that are not taken as keywords."""

SAID = frozenset(_SAID.split())
"""English filler words; they become keywords only of a group if most other groups lack them."""
