"""Answers from the user's own documents."""

from chainkit.knowledge.answer.answer import Answer as Answer
from chainkit.knowledge.answer.answer import AnswerStream as AnswerStream
from chainkit.knowledge.answer.asking import ask as ask
from chainkit.knowledge.answer.asking import ask_stream as ask_stream
from chainkit.knowledge.answer.citations import Citation as Citation
from chainkit.knowledge.answer.conversation import Conversation as Conversation
from chainkit.knowledge.evaluation import Question as Question
from chainkit.knowledge.evaluation import Scores as Scores
from chainkit.knowledge.evaluation import evaluate as evaluate
from chainkit.knowledge.evaluation import read_questions as read_questions
from chainkit.knowledge.index.index import Index as Index
from chainkit.knowledge.index.indexing import Report as Report
from chainkit.knowledge.index.rerank import ModelReranker as ModelReranker
from chainkit.knowledge.index.search import Hit as Hit
from chainkit.knowledge.index.split import Passage as Passage
from chainkit.knowledge.index.vector_stores import VectorStoreIndex as VectorStoreIndex
