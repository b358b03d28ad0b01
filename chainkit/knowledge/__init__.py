"""Answers from the user's own documents."""

from chainkit.knowledge.answer import Answer as Answer
from chainkit.knowledge.answer import AnswerStream as AnswerStream
from chainkit.knowledge.asking import ask as ask
from chainkit.knowledge.asking import ask_stream as ask_stream
from chainkit.knowledge.citations import Citation as Citation
from chainkit.knowledge.conversation import Conversation as Conversation
from chainkit.knowledge.evaluation import Question as Question
from chainkit.knowledge.evaluation import Scores as Scores
from chainkit.knowledge.evaluation import evaluate as evaluate
from chainkit.knowledge.evaluation import read_questions as read_questions
from chainkit.knowledge.index import Index as Index
from chainkit.knowledge.indexing import Report as Report
from chainkit.knowledge.outside import StoreIndex as StoreIndex
from chainkit.knowledge.rerank import ModelReranker as ModelReranker
from chainkit.knowledge.search import Hit as Hit
from chainkit.knowledge.split import Passage as Passage
